//! Writing one section of a status, and only over what was read.

use std::fmt;

use kube::Api;
use kube::api::PatchParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::cluster::denial::{is_denied, is_stale};
use crate::patch::{Operation, Patch, add, remove, replace, test};

/// The most characters of the API server's words that an error carries.
const WORDS: usize = 300;

/// A status could not be recorded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Somebody else was faster, or the name belongs to another object now: read again.
    #[error("the object changed since it was read")]
    Conflict,
    /// There is no such object.
    #[error("the object is gone")]
    Gone,
    /// The schema or a policy does not allow it. Reading again does not help.
    #[error("the status is not valid: {0}")]
    Invalid(String),
    /// The value is no JSON.
    #[error("the status cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The API server did not answer, or refused.
    #[error("cannot write the status")]
    Cluster(#[source] kube::Error),
}

/// A change of one object's status that is made only if the object is still the one that was read.
#[derive(Clone)]
pub struct StatusPatch {
    operations: Vec<Operation>,
}

/// Statuses may be long, and their messages are people's.
impl fmt::Debug for StatusPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self
            .operations
            .iter()
            .map(|operation| operation.path().to_string());
        f.debug_list().entries(paths).finish()
    }
}

impl StatusPatch {
    /// Nothing yet, for the object of this uid.
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Self {
            operations: vec![test(&["metadata", "uid"], uid)],
        }
    }

    /// Holds only while `section` is at this revision.
    #[must_use]
    pub fn expect(mut self, section: &str, rev: i64) -> Self {
        self.operations.push(test(&["status", section, "rev"], rev));
        self
    }

    /// Writes a section over the one of revision `rev`; the new one gets the next revision.
    ///
    /// # Errors
    /// The value is no JSON object.
    pub fn section(
        self,
        section: &str,
        rev: i64,
        value: &impl Serialize,
    ) -> Result<Self, RecordError> {
        let mut value = serde_json::to_value(value)?;
        let Value::Object(fields) = &mut value else {
            return Err(RecordError::Invalid(format!(
                "section {section} is no object"
            )));
        };

        fields.insert("rev".into(), (rev + 1).into());
        let mut patch = self.expect(section, rev);
        patch.operations.push(replace(&["status", section], value));
        Ok(patch)
    }

    /// Holds only while the watcher's own revision, which stands beside the sections, is this one,
    /// and counts it up.
    #[must_use]
    pub fn root(mut self, rev: i64) -> Self {
        self.operations.push(test(&["status", "rev"], rev));
        self.operations.push(replace(&["status", "rev"], rev + 1));
        self
    }

    /// Writes a field of the watcher's own, whether or not it is there.
    ///
    /// # Errors
    /// The value is no JSON.
    pub fn set(mut self, field: &str, value: &impl Serialize) -> Result<Self, RecordError> {
        let value = serde_json::to_value(value)?;
        self.operations.push(add(&["status", field], value));
        Ok(self)
    }

    /// Takes away a field of the watcher's own that was read.
    #[must_use]
    pub fn unset(mut self, field: &str) -> Self {
        self.operations.push(remove(&["status", field]));
        self
    }

    /// Writes it and returns the object as it is then.
    ///
    /// # Errors
    /// See [`RecordError`]: [`RecordError::Conflict`] is ordinary.
    pub async fn apply<K>(self, api: &Api<K>, name: &str) -> Result<K, RecordError>
    where
        K: Clone + DeserializeOwned + fmt::Debug,
    {
        let patch = kube::api::Patch::<()>::Json(Patch(self.operations));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .map_err(refused)
    }
}

fn refused(error: kube::Error) -> RecordError {
    match &error {
        kube::Error::Api(status) if status.code == 404 => RecordError::Gone,
        kube::Error::Api(status) if is_stale(status) => RecordError::Conflict,
        kube::Error::Api(status) if is_denied(status) => {
            RecordError::Invalid(status.message.chars().take(WORDS).collect())
        }
        _ => RecordError::Cluster(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_section_is_written_over_the_revision_that_was_read() {
        let patch = StatusPatch::new("u")
            .section("deploy", 3, &json!({"rev": 3, "state": "Healthy"}))
            .unwrap();
        assert_eq!(
            serde_json::to_value(Patch(patch.operations)).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/status/deploy/rev", "value": 3},
                {"op": "replace", "path": "/status/deploy", "value": {"rev": 4, "state": "Healthy"}},
            ])
        );
    }

    #[test]
    fn what_is_derived_is_written_over_the_revisions_that_it_was_derived_from() {
        let patch = StatusPatch::new("u")
            .expect("deploy", 4)
            .root(7)
            .set("phase", &"Healthy")
            .unwrap();
        assert_eq!(
            serde_json::to_value(Patch(patch.operations)).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/status/deploy/rev", "value": 4},
                {"op": "test", "path": "/status/rev", "value": 7},
                {"op": "replace", "path": "/status/rev", "value": 8},
                {"op": "add", "path": "/status/phase", "value": "Healthy"},
            ])
        );
    }

    #[test]
    fn debug_shows_paths_only() {
        let patch = StatusPatch::new("u")
            .section("record", 0, &json!({"token": "marker"}))
            .unwrap();
        assert!(!format!("{patch:?}").contains("marker"));
    }
}
