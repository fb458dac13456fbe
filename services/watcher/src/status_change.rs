//! The watcher's part of a status, as it was read and as it is to be: how the two differ, and the
//! patch from one to the other. Pure.

mod kinds;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use sequencer_api::condition::{ConditionType, Reason};
use sequencer_api::status::{Failure, Section};
use sequencer_runtime::section::{RecordError, StatusPatch};
use sequencer_runtime::status_writer::Difference;
use serde::Serialize;
use serde_json::{Map, Value};

/// The status of a kind: the watcher's conditions and fields, and sections that are others'.
pub trait Status: Clone + PartialEq + Serialize {
    /// Which conditions it has.
    fn conditions(&self) -> &[Condition];

    /// The watcher's revision.
    fn rev(&self) -> i64;

    /// The sections by name.
    fn sections(&self) -> Vec<(&'static str, &Section)>;

    /// What is recorded as wrong beside its sections.
    fn failure(&self) -> Option<&Failure> {
        None
    }

    /// The same with neither a section nor a revision.
    fn own(self) -> Self;

    /// Of its own, what causes a write; the rest is written with it.
    fn notable(self) -> Self {
        self
    }

    /// Of what is notable, all but messages and counts.
    fn gist(self) -> Self;

    /// What others act by, besides conditions.
    fn depended_on(&self) -> [Option<&str>; 3] {
        [None; 3]
    }

    /// What the deployer takes for the newest Build. While there is none, nothing can be mistaken
    /// for it.
    fn newest(&self) -> Option<&str> {
        None
    }
}

/// A status of one object, before and after.
#[derive(Debug)]
pub struct StatusChange<'a, S> {
    before: &'a S,
    after: &'a S,
    /// The conditions besides `Ready` that others wait for.
    depended_on: &'a [ConditionType],
    /// Whether its object waits for something slow.
    waits: bool,
}

impl<'a, S: Status> StatusChange<'a, S> {
    /// A status as it was read and as it was derived. `depended_on` are the conditions besides
    /// `Ready` that others wait for.
    #[must_use]
    pub fn new(before: &'a S, after: &'a S, depended_on: &'a [ConditionType]) -> Self {
        Self {
            before,
            after,
            depended_on,
            waits: false,
        }
    }

    /// The same, of an object that waits for something slow. The service that recorded the wait has
    /// made sure that it lasts.
    #[must_use]
    pub fn while_waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// How the two differ for those who read them. None: not so that it has to be written.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        let notable = |status: &S| status.clone().own().notable();
        let (before, after) = (notable(self.before), notable(self.after));
        if before == after {
            return None;
        }

        let replaced = before.newest().is_some() && before.newest() != after.newest();
        let outcome = self.waits || replaced || self.outcome(&before) != self.outcome(&after);

        Some(if outcome {
            Difference::Outcome
        } else if before.gist() != after.gist() {
            Difference::Progress
        } else {
            Difference::Words
        })
    }

    /// What writes the difference, for the object of this uid: only what differs, and only over
    /// what the status was derived from.
    ///
    /// # Errors
    /// A value is no JSON.
    pub fn patch(&self, uid: &str) -> Result<StatusPatch, RecordError> {
        let mut patch = StatusPatch::new(uid).root(self.before.rev());

        for (name, section) in self.before.sections() {
            patch = patch.expect(name, section.rev);
        }

        let (before, after) = (fields(self.before)?, fields(self.after)?);
        for (field, value) in &after {
            if before.get(field) != Some(value) {
                patch = patch.set(field, value)?;
            }
        }

        for field in before.keys().filter(|field| !after.contains_key(*field)) {
            patch = patch.unset(field);
        }

        Ok(patch)
    }

    /// What somebody may wait for. Between waiting and being under way there is nothing to act on.
    fn outcome<'s>(&self, status: &'s S) -> Outcome<'s> {
        let ended = status.conditions().iter().filter_map(|condition| {
            let kind = condition.type_.parse().ok()?;
            let reason = condition.reason.parse().ok();
            let depended_on = kind == ConditionType::Ready || self.depended_on.contains(&kind);
            let ended = !matches!(reason, Some(Reason::Waiting | Reason::InProgress));
            (depended_on && ended).then_some((kind, (condition.status.as_str(), reason)))
        });
        (status.depended_on(), ended.collect())
    }
}

/// What others act by: fields, and conditions with their status and reason.
type Outcome<'s> = (
    [Option<&'s str>; 3],
    BTreeMap<ConditionType, (&'s str, Option<Reason>)>,
);

/// The watcher's own fields.
fn fields(status: &impl Status) -> Result<Map<String, Value>, RecordError> {
    match serde_json::to_value(status.clone().own())? {
        Value::Object(fields) => Ok(fields),
        other => Err(RecordError::Invalid(format!("the status is {other}"))),
    }
}

/// What conditions say, without words and without when.
fn gist(conditions: Vec<Condition>) -> Vec<Condition> {
    let bare = |condition| Condition {
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        ..condition
    };
    conditions.into_iter().map(bare).collect()
}

#[cfg(test)]
mod tests {
    use sequencer_api::status::component::ComponentStatus;
    use sequencer_api::status::workspace::WorkspaceStatus;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    const UID: &str = "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10";

    /// A status with these fields and a condition `Ready`.
    fn status<S: DeserializeOwned>(ready: [&str; 3], more: &Value) -> S {
        let [status, reason, message] = ready;
        let mut value =
            json!({"rev": 2, "conditions": [condition("Ready", status, reason, message)]});
        let fields = value.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn component(ready: [&str; 3], more: &Value) -> ComponentStatus {
        status(ready, more)
    }

    fn workspace(ready: [&str; 3], more: &Value) -> WorkspaceStatus {
        status(ready, more)
    }

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        let since = "2026-01-01T00:00:00Z";
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since, "observedGeneration": 3})
    }

    const UNKNOWN: [&str; 3] = ["Unknown", "Waiting", ""];
    const IN_PROGRESS: [&str; 3] = ["False", "InProgress", "1 of 3"];

    fn difference<S: Status>(before: &S, after: &S) -> Option<Difference> {
        StatusChange::new(before, after, &[ConditionType::Pod]).difference()
    }

    #[test]
    fn the_same_is_not_written_whatever_the_sections_say() {
        let before = component(IN_PROGRESS, &json!({"deploy": {"rev": 4}}));
        let later = component(IN_PROGRESS, &json!({"deploy": {"rev": 9}, "rev": 3}));

        assert_eq!(difference(&before, &later), None);
    }

    #[test]
    fn messages_and_counts_are_words_wherever_they_stand() {
        let reported = |ready: &str, reason: &str, message: &str| {
            let line = json!({"name": "a", "ready": "False", "reason": reason, "message": message});
            workspace(
                IN_PROGRESS,
                &json!({"componentsReady": ready, "components": [line]}),
            )
        };
        let torn_down = |stage: &str, message: &str| {
            let left = json!({"kind": "Tunnel", "name": "a", "message": message});
            let teardown =
                json!({"stage": stage, "startedAt": "2026-01-01T00:00:00Z", "remaining": [left]});
            workspace(IN_PROGRESS, &json!({"teardown": teardown}))
        };

        let before = reported("0/1", "InProgress", "0 of 1 ready");
        for (after, expected) in [
            (
                reported("1/1", "InProgress", "1 of 1 ready"),
                Difference::Words,
            ),
            (
                reported("0/1", "Healthy", "0 of 1 ready"),
                Difference::Progress,
            ),
        ] {
            assert_eq!(difference(&before, &after), Some(expected), "{after:?}");
        }

        let before = torn_down("Tunnel", "tried once");
        for (after, expected) in [
            (torn_down("Tunnel", "tried twice"), Difference::Words),
            (torn_down("Secrets", "tried once"), Difference::Progress),
        ] {
            assert_eq!(difference(&before, &after), Some(expected), "{after:?}");
        }
    }

    #[test]
    fn the_first_word_is_an_outcome_only_if_it_is_ready_or_failed() {
        let unknown = component(UNKNOWN, &json!({}));

        for (ready, reason, expected) in [
            ("False", "InProgress", Difference::Progress),
            ("True", "Healthy", Difference::Outcome),
            ("False", "CrashLoop", Difference::Outcome),
        ] {
            let after = component([ready, reason, "x"], &json!({}));
            assert_eq!(difference(&unknown, &after), Some(expected), "{reason}");
        }
    }

    #[test]
    fn a_message_alone_is_words_and_being_under_way_is_progress() {
        let before = component(IN_PROGRESS, &json!({}));

        for (ready, reason, expected) in [
            ("False", "InProgress", Difference::Words),
            ("False", "Waiting", Difference::Progress),
            ("False", "CrashLoop", Difference::Outcome),
            ("True", "Healthy", Difference::Outcome),
        ] {
            let after = component([ready, reason, "2 of 3"], &json!({}));
            assert_eq!(difference(&before, &after), Some(expected), "{reason}");
        }
    }

    #[test]
    fn what_is_said_of_a_slow_wait_is_written_at_once() {
        let before = component(["False", "InProgress", "0 of 1 ready"], &json!({}));
        let after = component(["False", "InProgress", "pulling redis:latest"], &json!({}));
        let difference = |after| {
            let change = StatusChange::new(&before, after, &[]);
            change.while_waiting(true).difference()
        };

        assert_eq!(difference(&after), Some(Difference::Outcome));
        assert_eq!(difference(&before), None);
    }

    #[test]
    fn timings_are_written_with_the_rest_and_never_alone() {
        let timings = json!({"timings": [{"stage": "Build", "startedAt": "1970-01-01T00:00:05Z"}]});
        let before = workspace(IN_PROGRESS, &json!({}));
        let timed = workspace(IN_PROGRESS, &timings);

        assert_eq!(difference(&before, &timed), None);
        assert_eq!(difference(&timed, &before), None);

        let ready = workspace(["True", "Healthy", "b"], &timings);
        let patch = StatusChange::new(&before, &ready, &[]).patch(UID).unwrap();
        assert!(format!("{patch:?}").contains("timings"), "{patch:?}");
    }

    #[test]
    fn a_condition_that_a_sibling_waits_for_is_an_outcome_and_another_is_progress() {
        for (kind, expected) in [
            ("Pod", Difference::Outcome),
            ("Source", Difference::Progress),
        ] {
            let with = |status: &str, reason: &str| {
                let ready = condition("Ready", "False", "InProgress", "");
                let more = condition(kind, status, reason, "");
                component(IN_PROGRESS, &json!({"conditions": [ready, more]}))
            };
            let (before, after) = (with("False", "InProgress"), with("True", "Completed"));
            assert_eq!(difference(&before, &after), Some(expected), "{kind}");

            let young = component(UNKNOWN, &json!({}));
            assert_eq!(difference(&young, &after), Some(expected), "{kind}");
        }
    }

    #[test]
    fn another_newest_build_is_an_outcome_and_the_first_is_not() {
        let build = |name: &str| component(IN_PROGRESS, &json!({"latestBuild": name}));
        let none = component(IN_PROGRESS, &json!({}));

        let first = difference(&none, &build("a"));
        assert_eq!(first, Some(Difference::Progress));
        let next = difference(&build("a"), &build("b"));
        assert_eq!(next, Some(Difference::Outcome));
    }

    #[test]
    fn a_host_is_an_outcome() {
        let before = workspace(UNKNOWN, &json!({}));
        let after = workspace(UNKNOWN, &json!({"host": "a.example"}));

        assert_eq!(difference(&before, &after), Some(Difference::Outcome));
    }

    #[test]
    fn a_patch_writes_what_differs_over_what_every_section_said() {
        let before = component(
            UNKNOWN,
            &json!({"latestBuild": "a", "source": {"rev": 1}, "deploy": {"rev": 4}}),
        );
        let after = component(UNKNOWN, &json!({"phase": "Error"}));
        let patch = StatusChange::new(&before, &after, &[]).patch(UID).unwrap();

        assert_eq!(
            format!("{patch:?}"),
            r#"["/metadata/uid", "/status/rev", "/status/rev", "/status/source/rev", "/status/deploy/rev", "/status/phase", "/status/latestBuild"]"#
        );
    }
}
