//! What the API server was asked to write, by its audit log.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::layout::{Layout, text};

/// A write that was answered, with success or not (audit.k8s.io/v1 `Event`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    stage: String,
    verb: String,
    #[serde(default)]
    object_ref: ObjectRef,
    user: User,
    /// What the client calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// When it was asked for.
    #[serde(rename = "requestReceivedTimestamp")]
    pub asked_at: Timestamp,
    /// When it was answered.
    #[serde(rename = "stageTimestamp")]
    pub answered_at: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct User {
    /// Empty where nobody could be made out.
    #[serde(default)]
    username: String,
}

impl Write {
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user.username
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.object_ref.namespace
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.object_ref.name
    }

    /// The plural of the object's kind.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.object_ref.resource
    }

    fn is_write(&self) -> bool {
        let verb = self.verb.as_str();
        self.stage == "ResponseComplete" && matches!(verb, "create" | "update" | "patch" | "delete")
    }
}

/// What was done to what: `create secrets`, `patch components/status`.
impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectRef {
            resource,
            subresource,
            ..
        } = &self.object_ref;

        write!(f, "{} {resource}", self.verb)?;
        if subresource.is_empty() {
            return Ok(());
        }

        write!(f, "/{subresource}")
    }
}

/// All writes, in the order of their answers.
///
/// # Errors
/// There is no log.
pub fn writes(layout: &Layout) -> Result<Vec<Write>> {
    let file = layout.logs().join("audit.log");
    let log =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", text(&file)))?;
    // The last line may be half written.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut writes = Vec::new();

    for line in whole.lines() {
        let write: Write = serde_json::from_str(line)?;
        if write.is_write() {
            writes.push(write);
        }
    }

    Ok(writes)
}

/// How often what was done to what.
pub fn count<'a>(writes: impl IntoIterator<Item = &'a Write>) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for write in writes {
        *count.entry(write.to_string()).or_default() += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(stage: &str, user: &serde_json::Value) -> Write {
        let entry = json!({
            "stage": stage, "verb": "patch", "user": user,
            "objectRef": {"resource": "components", "subresource": "status", "name": "a"},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
            "stageTimestamp": "2026-01-01T00:00:00.250001Z",
        });
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn whoever_asked_a_write_counts_once_when_it_is_answered() {
        let all = [
            entry("ResponseComplete", &json!({"username": "admin"})),
            entry("ResponseComplete", &json!({})),
            entry("RequestReceived", &json!({})),
        ];
        let answered = all.iter().filter(|write| write.is_write());

        let counted = BTreeMap::from([("patch components/status".to_owned(), 2)]);
        assert_eq!(count(answered), counted);
        assert_eq!((all[0].user(), all[1].user()), ("admin", ""));
    }
}
