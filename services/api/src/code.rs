//! The error codes that users meet. Each stands in `errors.md` with what happened, why, and what to
//! do.

mod catalogue;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use catalogue::Code;

/// Who can do something about what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Whoever wrote the object, or a Secret that it names.
    User,
    /// Nobody here: a registry, a provider, a git server, or the cluster's capacity.
    World,
    /// The operator: it is Sequencer itself, its chart, or the cluster that it runs on.
    Ours,
}

/// A text that is no code of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an error code")]
pub struct UnknownCode;

impl Code {
    /// Whether nothing is wrong while a step under way records it: the step only takes its time.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::ExternalDeletionPending | Self::ConnectorNotConnected | Self::RecordNotResolved
        )
    }

    /// Returns the code of a reason, or None if no code has it.
    #[must_use]
    pub fn of_reason(reason: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.reason() == reason)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "E#{:04}", self.number())
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let number = number(text).ok_or(UnknownCode)?;
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
            .ok_or(UnknownCode)
    }
}

/// Returns the number of a text of the form `E#nnnn`.
fn number(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("E#")?;
    let formed = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_digit());
    formed.then(|| digits.parse().ok())?
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;

        match (text.parse(), number(&text)) {
            (Ok(code), _) => Ok(code),
            // A newer version wrote it. During an upgrade the others go on reading the object.
            (Err(UnknownCode), Some(_)) => Ok(Self::ObjectUnreadable),
            (Err(error), None) => Err(serde::de::Error::custom(error)),
        }
    }
}

impl JsonSchema for Code {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 8})
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::crd::definitions;

    /// The reasons of a status have at most so many characters.
    const REASON: usize = 32;

    /// The codes that a text names.
    fn named(text: &str) -> BTreeSet<String> {
        let starts = text
            .match_indices("E#")
            .filter_map(|(at, _)| text.get(at..at + 6));
        starts
            .filter(|code| code.bytes().skip(2).all(|digit| digit.is_ascii_digit()))
            .map(Into::into)
            .collect()
    }

    fn known() -> BTreeSet<String> {
        Code::ALL.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn codes_ascend_and_none_stands_twice() {
        assert!(Code::ALL.is_sorted());
        assert_eq!(known().len(), Code::ALL.len());
    }

    #[test]
    fn every_code_has_a_reason_of_its_own_that_a_condition_can_have() {
        let reasons: BTreeSet<_> = Code::ALL.iter().map(|code| code.reason()).collect();
        assert_eq!(reasons.len(), Code::ALL.len());

        for reason in reasons {
            assert!(reason.len() <= REASON, "{reason}");
            assert!(
                reason.bytes().all(|letter| letter.is_ascii_alphanumeric()),
                "{reason}"
            );
            assert!(reason.starts_with(|first: char| first.is_ascii_uppercase()));
        }
    }

    #[test]
    fn a_code_is_read_as_it_is_written_and_a_newer_one_does_not_hide_the_object() {
        for code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(*code));
            assert_eq!(Code::of_reason(code.reason()), Some(*code));
        }

        let read = |text: &str| serde_json::from_str::<Code>(text).ok();
        assert_eq!(read(r#""E#1012""#), Some(Code::CommitNotFound));
        assert_eq!(read(r#""E#9999""#), Some(Code::ObjectUnreadable));

        for wrong in [r#""""#, r#""1012""#, r#""E#101""#, r#""E#+101""#, "1012"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    /// What `errors.md` must say of a code, white space apart.
    fn entry(code: Code) -> [String; 2] {
        let cause = match code.cause() {
            Cause::User => "the user",
            Cause::World => "the world outside",
            Cause::Ours => "Sequencer",
        };
        let head = format!(
            "## {code} {} **Reason:** `{}` · **Cause:** {cause} **Why:** ",
            code.meaning(),
            code.reason()
        );
        [head, format!(" **Do:** {}", code.remedy())]
    }

    #[test]
    fn every_code_has_its_entry_and_every_entry_its_code() {
        let page = include_str!("../errors.md");
        let entries: Vec<_> = page
            .split("\n## ")
            .skip(1)
            .map(|entry| format!("## {entry}"))
            .map(|entry| entry.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(entries.len(), Code::ALL.len());

        for (code, entry) in Code::ALL.iter().zip(entries) {
            let [head, remedy] = self::entry(*code);
            assert!(entry.starts_with(&head), "{head}\n{entry}");
            assert!(entry.contains(&remedy), "{remedy}\n{entry}");
        }
    }

    #[test]
    fn every_code_of_the_schemas_is_known() {
        let schemas: String = definitions()
            .unwrap()
            .iter()
            .map(|definition| definition.value.to_string())
            .collect();
        let named = named(&schemas);

        assert!(
            named.len() > 20 && named.is_subset(&known()),
            "{:?}",
            named.difference(&known())
        );
    }

    #[test]
    fn every_code_of_the_chart_is_known() {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/sequencer/templates");
        let files = std::fs::read_dir(chart).unwrap();
        let texts: String = files
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        let named = named(&texts);

        assert!(
            named.contains("E#6025") && named.is_subset(&known()),
            "{:?}",
            named.difference(&known())
        );
    }
}
