//! What a registry asks for before it answers: `WWW-Authenticate` (RFC 7235, and Distribution's
//! token specification).

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With name and password.
    Basic,
    /// With a token from here.
    Bearer {
        /// The token service.
        realm: Url,
        /// What the token is for.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge of an answer; a token is preferred to sending the password with each request.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let all: Vec<_> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        all.iter().find_map(|value| bearer(value)).or_else(|| {
            all.iter()
                .any(|value| is(value, "Basic"))
                .then_some(Self::Basic)
        })
    }
}

/// Whether a challenge is of this scheme.
fn is(value: &str, scheme: &str) -> bool {
    value
        .split_whitespace()
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case(scheme))
}

fn bearer(value: &str) -> Option<Challenge> {
    let (_, rest) = value
        .trim_start()
        .split_once(' ')
        .filter(|_| is(value, "Bearer"))?;
    let (mut realm, mut service) = (None, None);
    for (name, value) in parameters(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = value.parse().ok(),
            "service" => service = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer {
        realm: realm?,
        service,
    })
}

/// `name="value", name=value`; a value in quotes may hold commas, and a backslash takes the next
/// character as it is.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = value(after.trim_start());
        found.push((name.trim().trim_start_matches(',').trim().to_owned(), value));
        rest = next;
    }

    found
}

/// The value that a text begins with, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.trim().to_owned(), rest);
    };

    let (mut value, mut escaped) = (String::new(), false);

    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }

    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let headers = values
            .iter()
            .map(|value| (WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap()));
        Challenge::of(&headers.collect())
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted = Challenge::Bearer {
            realm: "https://auth.docker.io/token".parse().unwrap(),
            service: Some("registry.docker.io".into()),
        };
        assert_eq!(of(&["Basic realm=\"x\"", hub]), Some(wanted.clone()));
        assert_eq!(
            of(&["bearer service=registry.docker.io, realm=\"https://auth.docker.io/token\""]),
            Some(wanted)
        );
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        for none in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"not a url\"",
        ] {
            assert_eq!(of(&[none]), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_judged(text in "(Bearer |Basic |)[ -~]{0,60}") {
            of(&[&text]);
        }

        #[test]
        fn a_value_in_quotes_is_read_as_it_is(service in "[a-z ,=\"\\\\]{0,20}") {
            let escaped = service.replace('\\', "\\\\").replace('"', "\\\"");
            let found = of(&[&format!("Bearer service=\"{escaped}\",realm=\"https://x.y/\"")]);
            prop_assert_eq!(found, Some(Challenge::Bearer { realm: "https://x.y/".parse().unwrap(), service: Some(service) }));
        }
    }
}
