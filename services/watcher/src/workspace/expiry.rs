//! The end that a ttl sets, and the warning before it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_api::{Workspace, labels};
use sequencer_runtime::retry::later;

use crate::conditions::{Fact, Reason};

/// People are warned this part of the ttl before its end.
const PART: u32 = 4;

/// And at most so long before.
const WARNING: Duration = Duration::from_hours(24);

/// How long a Workspace lives after the last activity, if it ends by itself.
fn ttl(workspace: &Workspace) -> Option<Duration> {
    let ttl: SignedDuration = workspace.spec.ttl.as_deref()?.parse().ok()?;
    Duration::try_from(ttl).ok()
}

/// The end that the ttl sets: so long after the last change of the spec or the commit.
pub(super) fn expires_at(
    workspace: &Workspace,
    before: &WorkspaceStatus,
    commit: Option<&str>,
    now: Timestamp,
) -> Option<Time> {
    let ttl = ttl(workspace)?;
    let unchanged = before.observed_generation == workspace.metadata.generation.unwrap_or_default()
        && before.commit.as_deref() == commit;
    before.expires_at.clone().filter(|_| unchanged).or_else(|| Some(Time(later(now, ttl))))
}

/// A keep-until that is later wins.
fn end(workspace: &Workspace, expires_at: &Time) -> Timestamp {
    let kept = workspace.annotations().get(labels::KEEP_UNTIL).and_then(|until| until.parse::<Timestamp>().ok());
    kept.map_or(expires_at.0, |kept| kept.max(expires_at.0))
}

/// When a Workspace is to be deleted, if ever.
pub(super) fn expires(workspace: &Workspace) -> Option<Timestamp> {
    ttl(workspace)?;
    let status = workspace.status.as_ref()?;
    // A change that was not written yet is an activity.
    if status.observed_generation != workspace.metadata.generation.unwrap_or_default() {
        return None;
    }
    Some(end(workspace, status.expires_at.as_ref()?))
}

/// When people are warned of this end.
pub(super) fn warned_at(workspace: &Workspace, end: Timestamp) -> Timestamp {
    let before = ttl(workspace).map_or(WARNING, |ttl| (ttl / PART).min(WARNING));
    end.checked_sub(before).unwrap_or(end)
}

/// What people read when the end is near.
pub(super) fn expiring(workspace: &Workspace, expires_at: Option<&Time>, now: Timestamp) -> Option<Fact> {
    let end = end(workspace, expires_at?);
    if workspace.metadata.deletion_timestamp.is_some() || now < warned_at(workspace, end) {
        return None;
    }
    let message = format!(
        "deleted at {end:.0}; to keep it: kubectl annotate ws {} {}=<a later time> --overwrite",
        workspace.name_any(),
        labels::KEEP_UNTIL
    );
    Some(Fact::yes(Reason::Waiting, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn workspace(ttl: &str, keep_until: Option<i64>) -> Workspace {
        let annotations = keep_until.map(|second| json!({labels::KEEP_UNTIL: at(second)}));
        let value = json!({
            "metadata": {"name": "w", "generation": 1, "annotations": annotations},
            "spec": {"ttl": ttl, "components": []},
            "status": {"observedGeneration": 1, "expiresAt": at(1_000_000)},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn people_are_warned_a_quarter_of_the_ttl_before_its_end_and_at_most_a_day() {
        let warned = |ttl| {
            let workspace = workspace(ttl, None);
            expires(&workspace).map(|end| warned_at(&workspace, end))
        };
        assert_eq!(warned("8h"), Some(at(1_000_000 - 2 * 3600)));
        assert_eq!(warned("168h"), Some(at(1_000_000 - 24 * 3600)));
        let workspace = workspace("8h", None);
        let expires_at = workspace.status.clone().and_then(|status| status.expires_at);
        assert_eq!(expiring(&workspace, expires_at.as_ref(), at(1_000_000 - 2 * 3600 - 1)), None);
        assert!(expiring(&workspace, expires_at.as_ref(), at(1_000_000 - 2 * 3600)).is_some());
    }

    #[test]
    fn a_later_keep_until_wins() {
        assert_eq!(expires(&workspace("8h", Some(999_999))), Some(at(1_000_000)));
        let kept = workspace("8h", Some(2_000_000));
        assert_eq!(expires(&kept), Some(at(2_000_000)));
        let expires_at = kept.status.clone().and_then(|status| status.expires_at);
        assert_eq!(expiring(&kept, expires_at.as_ref(), at(1_500_000)), None);
    }
}
