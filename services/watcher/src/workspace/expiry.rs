//! The end that a ttl sets, and the warning before it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::condition::{Reason, Summary};
use sequencer_api::host::Refusal;
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Workspace, labels};
use sequencer_runtime::retry::later;

use crate::chart::Limits;

/// People are warned this part of the ttl before its end.
const PART: u32 = 4;

/// The most characters of an annotation that a message shows.
const SHOWN: usize = 64;

/// And at most so long before.
const WARNING: Duration = Duration::from_hours(24);

/// What its spec asks for.
fn asked(workspace: &Workspace) -> Option<Duration> {
    let ttl: SignedDuration = workspace.spec.ttl.as_deref()?.parse().ok()?;
    Duration::try_from(ttl).ok()
}

/// How long a Workspace lives after the last activity, if it ends by itself.
fn ttl(workspace: &Workspace, limits: &Limits) -> Option<Duration> {
    asked(workspace)
        .or(limits.ttl)
        .map(|ttl| ttl.min(limits.max_ttl))
}

/// A ttl that the operator does not allow.
pub(super) fn refusal(workspace: &Workspace, limits: &Limits) -> Option<Refusal> {
    let longer = asked(workspace).is_some_and(|asked| asked > limits.max_ttl);
    let most = SignedDuration::try_from(limits.max_ttl).unwrap_or(SignedDuration::MAX);
    let message = format!("ttl: at most {most:#}, as the operator has it");
    longer.then_some(Refusal {
        code: Code::TtlOutOfRange,
        message,
    })
}

/// When the ttl is over: so long after the last change of the spec or the commit.
pub(super) fn ttl_ends_at(
    workspace: &Workspace,
    limits: &Limits,
    before: &WorkspaceStatus,
    commit: Option<&str>,
    now: Timestamp,
) -> Option<Time> {
    let ttl = ttl(workspace, limits)?;
    let unchanged =
        before.observed_generation == workspace.generation() && before.commit.as_deref() == commit;

    // A status that an earlier version wrote has but one end.
    let ends = before.ttl_ends_at.as_ref().or(before.expires_at.as_ref());
    ends.cloned()
        .filter(|_| unchanged)
        .or_else(|| Some(Time(later(now, ttl))))
}

/// Until when people keep it whatever its ttl says.
fn kept(workspace: &Workspace) -> Result<Option<Timestamp>, Refusal> {
    let Some(until) = workspace.annotations().get(labels::KEEP_UNTIL) else {
        return Ok(None);
    };

    until.parse().map(Some).map_err(|_error| {
        let shown: String = until.chars().take(SHOWN).collect();
        let key = labels::KEEP_UNTIL;
        let message = format!("{key} is {shown:?}, which is no time such as 2030-12-24T18:00:00Z");
        Refusal::new(Code::KeepUntilMalformed, message)
    })
}

/// When it is deleted: when its ttl is over, or later where people keep it, as long as the operator
/// allows after the last activity. What they do not say clearly keeps it as long.
pub(super) fn expires_at(
    workspace: &Workspace,
    limits: &Limits,
    ttl_ends_at: Option<&Time>,
) -> Option<Time> {
    let ends = ttl_ends_at?.0;
    let more = limits.max_ttl.saturating_sub(ttl(workspace, limits)?);
    let longest = later(ends, more);
    let kept = kept(workspace).unwrap_or(Some(longest));
    Some(Time(kept.map_or(ends, |kept| kept.clamp(ends, longest))))
}

/// When a Workspace is to be deleted, if ever.
pub(super) fn expires(workspace: &Workspace, limits: &Limits) -> Option<Timestamp> {
    ttl(workspace, limits)?;
    let status = workspace.status.as_ref()?;
    // A change that was not written yet is an activity.
    if status.observed_generation != workspace.generation() {
        return None;
    }
    let ends = status.ttl_ends_at.as_ref().or(status.expires_at.as_ref());
    expires_at(workspace, limits, ends).map(|end| end.0)
}

/// When people are warned of this end.
pub(super) fn warned_at(workspace: &Workspace, limits: &Limits, end: Timestamp) -> Timestamp {
    let before = ttl(workspace, limits).map_or(WARNING, |ttl| (ttl / PART).min(WARNING));
    end.checked_sub(before).unwrap_or(end)
}

/// What people read when the end is near, or is not what they meant.
pub(super) fn expiring(
    workspace: &Workspace,
    limits: &Limits,
    expires_at: Option<&Time>,
    now: Timestamp,
) -> Option<Summary> {
    if let Err(refusal) = kept(workspace) {
        return Some(refusal.into());
    }

    let end = expires_at?.0;
    if workspace.metadata.deletion_timestamp.is_some() || now < warned_at(workspace, limits, end) {
        return None;
    }

    let message = format!(
        "deleted at {end:.0}; to keep it: kubectl annotate -n {} ws {} {}=<a later time> --overwrite",
        workspace.namespace_str(),
        workspace.name_any(),
        labels::KEEP_UNTIL
    );
    Some(Summary::yes(Reason::Waiting, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits {
        ttl: None,
        max_ttl: Duration::from_hours(8760),
        workspaces: 0,
        builds: 0,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn workspace(ttl: &str, keep_until: Option<i64>) -> Workspace {
        let annotations = keep_until.map(|second| json!({labels::KEEP_UNTIL: at(second)}));
        let value = json!({
            "metadata": {"name": "w", "generation": 1, "annotations": annotations},
            "spec": {"ttl": ttl, "components": []},
            "status": {"observedGeneration": 1, "expiresAt": at(1_000_000), "ttlEndsAt": at(1_000_000)},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn people_are_warned_a_quarter_of_the_ttl_before_its_end_and_at_most_a_day() {
        let warned = |ttl| {
            let workspace = workspace(ttl, None);
            expires(&workspace, &LIMITS).map(|end| warned_at(&workspace, &LIMITS, end))
        };

        assert_eq!(warned("8h"), Some(at(1_000_000 - 2 * 3600)));
        assert_eq!(warned("168h"), Some(at(1_000_000 - 24 * 3600)));
        let workspace = workspace("8h", None);
        let expires_at = workspace
            .status
            .clone()
            .and_then(|status| status.expires_at);

        assert_eq!(
            expiring(
                &workspace,
                &LIMITS,
                expires_at.as_ref(),
                at(1_000_000 - 2 * 3600 - 1)
            ),
            None
        );

        assert!(
            expiring(
                &workspace,
                &LIMITS,
                expires_at.as_ref(),
                at(1_000_000 - 2 * 3600)
            )
            .is_some()
        );
    }

    #[test]
    fn a_later_keep_until_wins() {
        assert_eq!(
            expires(&workspace("8h", Some(999_999)), &LIMITS),
            Some(at(1_000_000))
        );
        let kept = workspace("8h", Some(2_000_000));
        assert_eq!(expires(&kept, &LIMITS), Some(at(2_000_000)));
        let shown = expires_at(&kept, &LIMITS, Some(&Time(at(1_000_000))));
        assert_eq!(shown, Some(Time(at(2_000_000))));
        assert_eq!(
            expiring(&kept, &LIMITS, shown.as_ref(), at(1_500_000)),
            None
        );
    }

    #[test]
    fn nothing_is_kept_longer_than_the_operator_allows() {
        let limits = Limits {
            max_ttl: Duration::from_hours(10),
            ..LIMITS
        };
        let longest = at(1_000_000 + 2 * 3600);
        let mut kept = workspace("8h", Some(9_000_000));
        assert_eq!(expires(&kept, &limits), Some(longest));

        // Nor shorter because of a word that says nothing.
        kept.metadata.annotations = Some(labels::map([(labels::KEEP_UNTIL, "Christmas")]));
        assert_eq!(expires(&kept, &limits), Some(longest));
        let told = expiring(&kept, &limits, Some(&Time(longest)), at(0)).unwrap();
        assert_eq!(told.reason.code(), Some(Code::KeepUntilMalformed));
        assert!(told.message.contains("Christmas"), "{}", told.message);
    }

    #[test]
    fn without_a_ttl_the_default_holds_and_none_is_longer_than_the_operator_allows() {
        let hours = Duration::from_hours;
        let limits = |ttl, max| Limits {
            ttl,
            max_ttl: max,
            ..LIMITS
        };

        let mut none = workspace("8h", None);
        none.spec.ttl = None;
        assert_eq!(ttl(&none, &LIMITS), None);
        assert_eq!(
            ttl(&none, &limits(Some(hours(3)), hours(9))),
            Some(hours(3))
        );
        assert_eq!(
            ttl(&workspace("8h", None), &limits(Some(hours(3)), hours(9))),
            Some(hours(8))
        );
        assert_eq!(
            refusal(&workspace("8h", None), &limits(None, hours(8))),
            None
        );

        let over = limits(None, hours(7));
        assert_eq!(
            refusal(&workspace("8h", None), &over).map(|refusal| refusal.code),
            Some(Code::TtlOutOfRange)
        );
        assert_eq!(ttl(&workspace("8h", None), &over), Some(hours(7)));
    }
}
