//! The watcher's part of a status, as it was read and as it is to be: how the two differ, and the
//! patch from one to the other. Pure.

use std::collections::BTreeMap;

use sequencer_api::condition::{ConditionType, Reason};
use sequencer_api::status::StatusSection as _;
use sequencer_api::status::build::{ImageSection, PublishSection};
use sequencer_api::status::component::{DeploySection, SourceSection};
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::status::workspace::{IngressSection, RouteSection, TunnelSection};
use sequencer_runtime::section::{RecordError, StatusPatch};
use sequencer_runtime::status_writer::Difference;
use serde_json::{Map, Value};

/// What is written with the rest, and never causes a write.
const NEVER_ALONE: &str = "timings";

/// The sections, which are others'.
const SECTIONS: [&str; 8] = [
    TunnelSection::NAME,
    RouteSection::NAME,
    IngressSection::NAME,
    SourceSection::NAME,
    DeploySection::NAME,
    ImageSection::NAME,
    PublishSection::NAME,
    RecordSection::NAME,
];

/// What others act by, besides conditions. A commit is not among them: it comes with `Ready`.
const DEPENDED_ON: [&str; 2] = ["host", "url"];

/// What the deployer takes for the newest. While there is none, nothing can be mistaken for it.
const NEWEST: &str = "latestBuild";

/// A status of one object, before and after.
#[derive(Debug)]
pub struct StatusChange<'a> {
    /// The conditions besides `Ready` that others wait for.
    depended_on: &'a [ConditionType],
    /// Whether its object waits for something slow.
    waits: bool,
    /// As it was read, with the sections of others.
    read: Value,
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl<'a> StatusChange<'a> {
    /// A status as it was read and as it was derived. `depended_on` are the conditions besides
    /// `Ready` that others wait for.
    #[must_use]
    pub fn new(before: Value, after: &Value, depended_on: &'a [ConditionType]) -> Self {
        Self {
            depended_on,
            waits: false,
            after: own(after),
            before: own(&before),
            read: before,
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
        let (before, after) = (&self.before, &self.after);
        if without_timings(before).eq(without_timings(after)) {
            return None;
        }

        Some(
            if self.waits || self.is_replaced(NEWEST) || self.outcome(before) != self.outcome(after)
            {
                Difference::Outcome
            } else if progress(before) != progress(after) {
                Difference::Progress
            } else {
                Difference::Words
            },
        )
    }

    /// What writes the difference, for the object of this uid: only what differs, and only over
    /// what the status was derived from.
    ///
    /// # Errors
    /// A value is no JSON.
    pub fn patch(&self, uid: &str) -> Result<StatusPatch, RecordError> {
        let mut patch = StatusPatch::new(uid).root(rev(&self.read).unwrap_or_default());

        for section in SECTIONS {
            if let Some(rev) = self.read.get(section).and_then(rev) {
                patch = patch.expect(section, rev);
            }
        }

        for (field, value) in &self.after {
            if self.before.get(field) != Some(value) {
                patch = patch.set(field, value)?;
            }
        }

        let gone = |field: &&String| !self.after.contains_key(*field);
        for field in self.before.keys().filter(gone) {
            patch = patch.unset(field);
        }

        Ok(patch)
    }

    fn is_replaced(&self, field: &str) -> bool {
        let before = self.before.get(field);
        before.is_some() && before != self.after.get(field)
    }

    /// What somebody may wait for. Between waiting and being under way there is nothing to act on.
    fn outcome<'s>(&self, status: &'s Map<String, Value>) -> Outcome<'s> {
        let fields = DEPENDED_ON.map(|field| status.get(field));
        let ended = conditions(status).filter(|(kind, (_, reason))| {
            let depended_on = *kind == ConditionType::Ready || self.depended_on.contains(kind);
            depended_on && !matches!(reason, Some(Reason::Waiting | Reason::InProgress))
        });
        (fields, ended.collect())
    }
}

/// The fields, and the conditions, that others act by.
type Outcome<'s> = (
    [Option<&'s Value>; DEPENDED_ON.len()],
    BTreeMap<ConditionType, State<'s>>,
);

/// `status` and `reason` of a condition.
type State<'s> = (Option<&'s Value>, Option<Reason>);

/// Everything but messages and counts.
fn progress(
    status: &Map<String, Value>,
) -> (Vec<(&String, Value)>, BTreeMap<ConditionType, State<'_>>) {
    let fields = without_timings(status)
        .filter(|(field, _)| !matches!(field.as_str(), "conditions" | "componentsReady"))
        .map(|(field, value)| (field, without_messages(value)));
    (fields.collect(), conditions(status).collect())
}

fn without_messages(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_messages).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(field, _)| *field != "message");
            let fields = fields.map(|(field, value)| (field.clone(), without_messages(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn conditions(status: &Map<String, Value>) -> impl Iterator<Item = (ConditionType, State<'_>)> {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().filter_map(|condition| {
        let kind = condition.get("type")?.as_str()?.parse().ok()?;
        let reason = condition.get("reason").and_then(Value::as_str);
        let reason = reason.and_then(|reason| reason.parse().ok());
        Some((kind, (condition.get("status"), reason)))
    })
}

/// The watcher's own fields.
fn own(status: &Value) -> Map<String, Value> {
    let fields = status.as_object().into_iter().flatten();
    let fields = fields.filter(|(field, _)| *field != "rev" && !SECTIONS.contains(&field.as_str()));
    fields
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}

fn rev(status: &Value) -> Option<i64> {
    status.get("rev")?.as_i64()
}

fn without_timings(status: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    status.iter().filter(|(field, _)| *field != NEVER_ALONE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10";

    fn status(rev: i64, ready: &str, reason: &str, message: &str) -> Value {
        let conditions =
            json!([{"type": "Ready", "status": ready, "reason": reason, "message": message}]);
        json!({"rev": rev, "phase": "Deploying", "conditions": conditions, "deploy": {"rev": 4}})
    }

    /// The same with one more condition.
    fn with(kind: &str, status: &str, reason: &str) -> Value {
        let mut value = self::status(2, "False", "InProgress", "");
        value["conditions"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": kind, "status": status, "reason": reason}));
        value
    }

    fn change(before: &Value, after: &Value) -> StatusChange<'static> {
        StatusChange::new(before.clone(), after, &[ConditionType::Pod])
    }

    fn difference(before: &Value, after: &Value) -> Option<Difference> {
        change(before, after).difference()
    }

    #[test]
    fn the_same_is_not_written_whatever_the_sections_say() {
        let before = status(3, "True", "Healthy", "a");
        let mut later = before.clone();
        later["deploy"] = json!({"rev": 9});

        assert_eq!(difference(&before, &later), None);
    }

    #[test]
    fn messages_and_counts_are_words_wherever_they_stand() {
        let reported = |ready: &str, state: &str, message: &str| {
            let mut value = status(2, "False", "InProgress", "");
            value["componentsReady"] = ready.into();
            value["components"] = json!([{"name": "a", "state": state, "message": message}]);
            value
        };

        let before = reported("0/1", "InProgress", "0 of 1 ready");

        assert_eq!(
            difference(&before, &reported("1/1", "InProgress", "1 of 1 ready")),
            Some(Difference::Words)
        );
        assert_eq!(
            difference(&before, &reported("0/1", "Healthy", "0 of 1 ready")),
            Some(Difference::Progress)
        );
    }

    #[test]
    fn the_first_word_is_an_outcome_only_if_it_is_ready_or_failed() {
        let unknown = status(0, "Unknown", "Waiting", "");

        for (ready, reason, expected) in [
            ("False", "InProgress", Difference::Progress),
            ("True", "Healthy", Difference::Outcome),
            ("False", "CrashLoop", Difference::Outcome),
        ] {
            let after = status(0, ready, reason, "x");
            assert_eq!(difference(&unknown, &after), Some(expected), "{reason}");
        }
    }

    #[test]
    fn a_message_alone_is_words_and_being_under_way_is_progress() {
        let before = status(2, "False", "InProgress", "1 of 3");

        for (ready, reason, expected) in [
            ("False", "InProgress", Difference::Words),
            ("False", "Waiting", Difference::Progress),
            ("False", "CrashLoop", Difference::Outcome),
            ("True", "Healthy", Difference::Outcome),
        ] {
            let after = status(2, ready, reason, "2 of 3");
            assert_eq!(difference(&before, &after), Some(expected), "{reason}");
        }
    }

    #[test]
    fn what_is_said_of_a_slow_wait_is_written_at_once() {
        let before = status(2, "False", "InProgress", "0 of 1 ready");
        let after = status(2, "False", "InProgress", "pulling redis:latest");
        let difference = |after| change(&before, after).while_waiting(true).difference();

        assert_eq!(difference(&after), Some(Difference::Outcome));
        assert_eq!(difference(&before), None);
    }

    #[test]
    fn timings_are_written_with_the_rest_and_never_alone() {
        let before = status(3, "False", "InProgress", "a");
        let timed = |mut status: Value| {
            status["timings"] = json!([{"stage": "Build", "startedAt": "1970-01-01T00:00:05Z"}]);
            status
        };

        assert_eq!(difference(&before, &timed(before.clone())), None);
        assert_eq!(difference(&timed(before.clone()), &before), None);

        let ready = timed(status(3, "True", "Healthy", "b"));
        let patch = change(&before, &ready).patch(UID).unwrap();
        assert!(format!("{patch:?}").contains("timings"), "{patch:?}");
    }

    #[test]
    fn a_condition_that_a_sibling_waits_for_is_an_outcome_and_another_is_progress() {
        for (kind, expected) in [
            ("Pod", Difference::Outcome),
            ("Source", Difference::Progress),
        ] {
            let (before, after) = (
                with(kind, "False", "InProgress"),
                with(kind, "True", "Completed"),
            );
            assert_eq!(difference(&before, &after), Some(expected), "{kind}");

            let young = status(0, "Unknown", "Waiting", "");
            assert_eq!(difference(&young, &after), Some(expected), "{kind}");
        }
    }

    #[test]
    fn another_newest_build_is_an_outcome_and_the_first_is_not() {
        let none = status(2, "False", "InProgress", "");
        let build = |name: &str| {
            let mut status = none.clone();
            status["latestBuild"] = name.into();
            status
        };

        let first = difference(&none, &build("a"));
        assert_eq!(first, Some(Difference::Progress));
        let next = difference(&build("a"), &build("b"));
        assert_eq!(next, Some(Difference::Outcome));
    }

    #[test]
    fn a_host_is_an_outcome() {
        let before = status(0, "Unknown", "Waiting", "");
        let mut after = before.clone();
        after["host"] = "a.example".into();

        assert_eq!(difference(&before, &after), Some(Difference::Outcome));
    }
}
