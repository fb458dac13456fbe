//! Variables in images, environment values, commands and arguments:
//! `${components::mysql.networks.tcp}` and its like, anywhere inside a text. `$${` stands for a
//! `${` of the text's own, and a `${` with another word behind it is left as it is. A text is
//! rendered once: what a value holds is never rendered again.

use std::fmt;

use crate::code::Code;

/// What a variable asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// `${build::NAME}`: the image by digest.
    Image(String),
    /// `${build::NAME.commit}`: the commit that it was built from.
    Commit(String),
    /// `${components::NAME.networks.NETWORK}`: the Service's host.
    Host {
        /// The component.
        component: String,
        /// Its network.
        network: String,
    },
    /// `${components::NAME.networks.NETWORK.port}`: the Service's port.
    Port {
        /// The component.
        component: String,
        /// Its network.
        network: String,
    },
    /// `${workspace::FIELD}`.
    Workspace(Field),
    /// `${ingress::RULE}`: the rule's host.
    Ingress(String),
    /// `${variables::NAME}`.
    Named(String),
}

/// What is known of a Workspace itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Its host.
    Host,
    /// Its URL.
    Url,
    /// Its name.
    Name,
    /// Its namespace.
    Namespace,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A variable in its place.
    Variable(Variable),
}

/// What is wrong with a variable, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The error.
    pub code: Code,
    /// The character at which the variable begins, from 1.
    pub at: usize,
    /// What is expected.
    pub expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} at character {}: expected {}",
            self.code, self.at, self.expected
        )
    }
}

impl std::error::Error for Malformed {}

const BUILD: &str = "${build::NAME} or ${build::NAME.commit}";
const COMPONENT: &str =
    "${components::NAME.networks.NETWORK} or ${components::NAME.networks.NETWORK.port}";
const WORKSPACE: &str = "${workspace::host}, url, name or namespace";
const INGRESS: &str = "${ingress::RULE}";
const NAMED: &str = "${variables::NAME}";

/// Takes a text apart.
///
/// # Errors
/// A known word is followed by something that is no variable.
pub fn parse(text: &str) -> Result<Vec<Piece>, Malformed> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        plain.push_str(before);
        let at = text.len() - from.len();

        if let Some(after) = from.strip_prefix("$${") {
            plain.push_str("${");
            rest = after;
        } else if let Some((word, expected)) = known_word(from) {
            let wrong = |code| Malformed {
                code,
                at: text.get(..at).map_or(0, |text| text.chars().count()) + 1,
                expected,
            };

            let (inside, after) = from
                .split_once('}')
                .ok_or_else(|| wrong(Code::VariableUnterminated))?;
            let names = inside
                .get("${".len() + word.len() + "::".len()..)
                .unwrap_or_default();
            let variable = variable(word, names).map_err(wrong)?;

            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }

            pieces.push(Piece::Variable(variable));
            rest = after;
        } else {
            plain.push('$');
            rest = from.get(1..).unwrap_or_default();
        }
    }

    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }

    Ok(pieces)
}

/// The known word that a text begins with as `${word::`, and the form of its variables.
fn known_word(from: &str) -> Option<(&'static str, &'static str)> {
    let inside = from.strip_prefix("${")?;
    let words = [
        ("build", BUILD),
        ("components", COMPONENT),
        ("workspace", WORKSPACE),
        ("ingress", INGRESS),
        ("variables", NAMED),
    ];

    words.into_iter().find(|(word, _)| {
        inside
            .strip_prefix(word)
            .is_some_and(|rest| rest.starts_with("::"))
    })
}

fn variable(word: &str, names: &str) -> Result<Variable, Code> {
    // No form has more than four parts: a fifth holds all the rest, and is no name if there is more
    // than one.
    let parts: Vec<_> = names.splitn(5, '.').collect();
    let is_name = |part: &&str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
    };

    if !parts.iter().all(is_name) {
        return Err(Code::VariableMalformed);
    }

    Ok(match (word, parts.as_slice()) {
        ("build", [name]) => Variable::Image((*name).into()),
        ("build", [name, "commit"]) => Variable::Commit((*name).into()),
        ("components", [component, "networks", network]) => Variable::Host {
            component: (*component).into(),
            network: (*network).into(),
        },
        ("components", [component, "networks", network, "port"]) => Variable::Port {
            component: (*component).into(),
            network: (*network).into(),
        },
        ("components", [_, _, _] | [_, _, _, "port"]) => return Err(Code::VariableSectionUnknown),
        ("workspace", ["host"]) => Variable::Workspace(Field::Host),
        ("workspace", ["url"]) => Variable::Workspace(Field::Url),
        ("workspace", ["name"]) => Variable::Workspace(Field::Name),
        ("workspace", ["namespace"]) => Variable::Workspace(Field::Namespace),
        ("ingress", [rule]) => Variable::Ingress((*rule).into()),
        ("variables", [name]) => Variable::Named((*name).into()),
        _ => return Err(Code::VariableMalformed),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    fn host(component: &str, network: &str) -> Piece {
        Piece::Variable(Variable::Host {
            component: component.into(),
            network: network.into(),
        })
    }

    #[test]
    fn every_form_is_read_anywhere_in_a_text() {
        assert_eq!(
            parse("x-${components::redis.networks.tcp}-y"),
            Ok(vec![text("x-"), host("redis", "tcp"), text("-y")])
        );
        assert_eq!(
            parse("${components::click-mania.networks.http2}"),
            Ok(vec![host("click-mania", "http2")])
        );

        for (written, variable) in [
            ("${build::myapp}", Variable::Image("myapp".into())),
            ("${build::myapp.commit}", Variable::Commit("myapp".into())),
            (
                "${components::a.networks.b.port}",
                Variable::Port {
                    component: "a".into(),
                    network: "b".into(),
                },
            ),
            ("${workspace::url}", Variable::Workspace(Field::Url)),
            ("${ingress::admin}", Variable::Ingress("admin".into())),
            ("${variables::DB_NAME}", Variable::Named("DB_NAME".into())),
        ] {
            assert_eq!(
                parse(written),
                Ok(vec![Piece::Variable(variable)]),
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for other in [
            "${HOME}",
            "$(VAR)",
            "${component::x.networks.y}",
            "${buildx::a}",
            "$",
            "a$b",
            "${",
            "$$",
            "$${",
            "100 $",
        ] {
            let expected = other.replace("$${", "${");
            assert_eq!(parse(other), Ok(vec![text(&expected)]), "{other}");
        }

        assert_eq!(parse("$${build::a}"), Ok(vec![text("${build::a}")]));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn a_known_word_with_a_malformed_rest_is_an_error_that_says_where() {
        for (written, code, at) in [
            ("${components::redis.tcp}", Code::VariableMalformed, 1),
            (
                "${components::redis.ports.tcp}",
                Code::VariableSectionUnknown,
                1,
            ),
            (
                "ü ${components::redis.networks.tcp",
                Code::VariableUnterminated,
                3,
            ),
            ("${build::}", Code::VariableMalformed, 1),
            ("${build::a.b}", Code::VariableMalformed, 1),
            (
                "${components::a.networks.b.port.c}",
                Code::VariableMalformed,
                1,
            ),
            (
                "${components::a.networks.b.port.c.d}",
                Code::VariableMalformed,
                1,
            ),
            ("${workspace::uid}", Code::VariableMalformed, 1),
            ("${variables::A B}", Code::VariableMalformed, 1),
            (
                "${build::a} ${build::${build::b}}",
                Code::VariableMalformed,
                13,
            ),
        ] {
            let wrong = parse(written).unwrap_err();
            assert_eq!((wrong.code, wrong.at), (code, at), "{written}");
        }
    }

    /// Pieces that are all text, put together.
    fn written(text: &str) -> Result<String, Malformed> {
        let piece = |piece: Piece| match piece {
            Piece::Text(text) => text,
            Piece::Variable(variable) => panic!("{variable:?}"),
        };
        parse(text).map(|pieces| pieces.into_iter().map(piece).collect())
    }

    /// Texts of what matters here.
    const TEXT: &str = "(\\$\\{build::|\\$|\\{|\\}|\\$\\{components::|a|\\.|::|networks|ü){0,12}";

    proptest! {
        #[test]
        fn no_text_breaks_it_and_text_without_a_dollar_stays(any in TEXT, plain in "[^$]{0,40}") {
            drop(parse(&any));
            prop_assert_eq!(written(&plain), Ok(plain));
        }

        #[test]
        fn whatever_is_escaped_comes_back(any in TEXT) {
            let escaped = any.replace("${", "$${");
            // Doubling a `$` before an escape would be read as text and an escape again.
            prop_assume!(!any.contains("$${"));
            prop_assert_eq!(written(&escaped), Ok(any));
        }
    }
}
