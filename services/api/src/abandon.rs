//! Giving up what a Workspace has outside the cluster.

use kube::ResourceExt as _;

use crate::stored::Stored as _;
use crate::{Workspace, labels};

impl Workspace {
    /// Tells whether an administrator gave up what it has outside: it is being deleted, and the
    /// annotation names exactly this one.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let uid = self.uid_str();
        let given_up = self.annotations().get(labels::ABANDON_EXTERNAL);

        self.metadata.deletion_timestamp.is_some()
            && !uid.is_empty()
            && given_up.is_some_and(|given_up| given_up == uid)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A Workspace of this uid, with this annotation.
    fn workspace(uid: &str, annotation: &str, deleting: bool) -> Workspace {
        let deleted = deleting.then_some("2026-01-01T00:00:00Z");
        let metadata = json!({
            "name": "w", "namespace": "team-a", "uid": uid, "deletionTimestamp": deleted,
            "annotations": {labels::ABANDON_EXTERNAL: annotation},
        });
        serde_json::from_value(json!({"metadata": metadata, "spec": {"components": []}})).unwrap()
    }

    #[test]
    fn only_a_workspace_that_goes_is_given_up_and_only_by_its_own_uid() {
        assert!(workspace("u", "u", true).is_abandoned());
        assert!(!workspace("u", "u", false).is_abandoned());
        assert!(!workspace("u", "v", true).is_abandoned());
        assert!(!workspace("u", "", true).is_abandoned());
    }

    #[test]
    fn a_workspace_without_the_annotation_or_without_a_uid_is_not_given_up() {
        let mut plain = workspace("u", "u", true);
        plain.metadata.annotations = None;
        assert!(!plain.is_abandoned());
        assert!(!workspace("", "", true).is_abandoned());
    }
}
