//! Events for people (events.k8s.io/v1): once for each transition.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder as Publisher, Reporter};
use sequencer_api::code::Code;
use sequencer_api::condition::{self, ConditionType, Status, find, is};
use sequencer_runtime::error::chain;
use tracing::warn;

use crate::apply::resource;
use crate::args::NAME;
use crate::plan::{self, EventReason, Target};

/// The most characters of an Event's note.
const NOTE: usize = 1024;

#[derive(Clone)]
pub struct Recorder {
    client: Client,
    reporter: Reporter,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// In the name of this pod.
    #[must_use]
    pub fn new(client: Client, pod: &str) -> Self {
        Self {
            client,
            reporter: Reporter {
                controller: NAME.into(),
                instance: Some(pod.into()),
            },
        }
    }

    /// Publishes one. Nothing depends on it.
    pub async fn publish(&self, event: &plan::Event) {
        let plan::Event {
            target,
            reason,
            warning,
            message,
        } = event;

        // What went wrong is logged by whoever met it.
        if *warning && !matches!(reason, EventReason::Code(_)) {
            warn!(
                kind = target.kind.word(),
                namespace = target.namespace,
                name = target.name,
                reason = reason.as_str(),
                message,
                "Published Event"
            );
        }

        let resource = resource(target.kind);
        let about = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(target.namespace.clone()),
            name: Some(target.name.clone()),
            uid: Some(target.uid.clone()),
            ..ObjectReference::default()
        };

        let event = Event {
            type_: if *warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.as_str().into(),
            note: Some(message.chars().take(NOTE).collect()),
            action: reason.as_str().into(),
            secondary: None,
        };

        // A recorder folds what has the same reason into what it published first, with the first's
        // words: each has its own.
        let publisher = Publisher::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = publisher.publish(&event, &about).await {
            let error = chain(&error);
            warn!(name = target.name, error, "Failed to publish Event");
        }
    }
}

/// The Events of a change of `Ready`: that something went wrong, once for each code; where
/// `says_ready`, also that it is ready.
#[must_use]
pub fn transitions(
    target: &Target,
    before: &[Condition],
    after: &[Condition],
    says_ready: bool,
) -> Vec<plan::Event> {
    if let Some(wrong) = wrong(target, ConditionType::Ready, before, after) {
        return vec![wrong];
    }
    if says_ready {
        ready(target, before, after).into_iter().collect()
    } else {
        Vec::new()
    }
}

/// That a condition went wrong: once for each code and transition.
#[must_use]
pub fn wrong(
    target: &Target,
    kind: ConditionType,
    before: &[Condition],
    after: &[Condition],
) -> Option<plan::Event> {
    let now = failing(after, kind)?;
    let text = &find(after, kind)?.message;
    let changed = failing(before, kind) != Some(now);
    changed.then(|| plan::Event::wrong(target, now, text))
}

/// Returns the code of a condition that needs a person. What is only tried again is no failure yet,
/// but for a quota, which somebody can raise.
fn failing(conditions: &[Condition], kind: ConditionType) -> Option<Code> {
    let code = find(conditions, kind).and_then(condition::code)?;
    let alone = [ConditionType::TeardownBlocked, ConditionType::Expiring];
    let stands = alone.contains(&kind)
        || code == Code::QuotaExceeded
        || find(conditions, ConditionType::Stalled).is_some();
    stands.then_some(code)
}

/// That it is ready now.
#[must_use]
pub fn ready(target: &Target, before: &[Condition], after: &[Condition]) -> Option<plan::Event> {
    begins(ConditionType::Ready, before, after)
        .map(|now| plan::Event::new(target, EventReason::Ready, now.message.clone()))
}

/// That it is deleted soon.
#[must_use]
pub fn expiring(target: &Target, before: &[Condition], after: &[Condition]) -> Option<plan::Event> {
    begins(ConditionType::Expiring, before, after)
        .map(|now| plan::Event::new(target, EventReason::Expiring, now.message.clone()))
}

/// A condition that holds now, and did not before.
fn begins<'a>(
    kind: ConditionType,
    before: &[Condition],
    after: &'a [Condition],
) -> Option<&'a Condition> {
    let holds = |found: &&Condition| is(found, Status::True);
    find(after, kind)
        .filter(holds)
        .filter(|_| find(before, kind).filter(holds).is_none())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sequencer_api::condition::{Reason, Summary};
    use sequencer_proto::topics::Kind;

    use super::*;
    use crate::conditions::Conditions;

    fn ready(fact: &Summary) -> Vec<Condition> {
        Conditions::new(&[], 1, Timestamp::UNIX_EPOCH).finish(fact, None, false, "")
    }

    #[test]
    fn an_error_is_told_once_for_each_code_and_readiness_once() {
        let target = Target {
            kind: Kind::Workspace,
            namespace: "n".into(),
            name: "w".into(),
            uid: "u".into(),
        };

        let reasons = |before: &Summary, after: &Summary| {
            transitions(&target, &ready(before), &ready(after), true)
                .iter()
                .map(|reported| reported.reason)
                .collect::<Vec<_>>()
        };

        let (good, waiting) = (
            Summary::yes(Reason::Healthy, ""),
            Summary::no(Reason::Waiting, ""),
        );
        let (commit, secret) = (Code::CommitNotFound, Code::SecretNotFound);
        let error = |code, message: &str| Summary::failed(code, message);
        let first = error(commit, "a");

        assert_eq!(reasons(&waiting, &first), [EventReason::Code(commit)]);
        assert_eq!(reasons(&first, &error(commit, "b")), []);
        assert_eq!(
            reasons(&first, &error(secret, "b")),
            [EventReason::Code(secret)]
        );
        assert_eq!(reasons(&waiting, &good), [EventReason::Ready]);
        assert_eq!(reasons(&good, &good), []);

        let retried = Summary {
            retried: true,
            ..first.clone()
        };

        assert_eq!(reasons(&waiting, &retried), []);
        assert_eq!(reasons(&retried, &first), [EventReason::Code(commit)]);
    }
}
