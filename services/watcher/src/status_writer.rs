//! Writes the watcher's part of a status: only what differs, only over what it was derived from,
//! and not for words alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_api::condition::{ConditionType, Reason, Status};
use sequencer_runtime::retry::later;
use sequencer_runtime::section::{RecordError, StatusPatch};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// When statuses are written.
#[derive(Debug)]
pub struct StatusWriter {
    /// How long what is soon ready or failed may be without a first status.
    pub first: Duration,
    /// What nobody waits for is written at most this often.
    pub quiet: Duration,
    written: Mutex<HashMap<Uuid, Timestamp>>,
}

/// What to do about a status that was derived.
#[derive(Debug)]
pub enum Decision {
    /// It is the same.
    Nothing,
    /// Decide again then: it may have changed once more.
    Later(Timestamp),
    /// Write it.
    Now(StatusPatch),
}

/// What is written with the rest, and never causes a write.
const NEVER_ALONE: &str = "timings";

/// The sections, which are others'.
const SECTIONS: [&str; 8] = [
    "tunnel", "route", "ingress", "source", "deploy", "image", "publish", "record",
];

/// What programs wait for besides conditions: a change of it is written at once. A commit is not
/// among them: it comes with `Ready`.
const FIELDS: [&str; 4] = ["observedGeneration", "host", "url", "latestBuild"];

/// An object whose status may be written.
#[derive(Debug)]
pub struct Change<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// When it was made.
    pub created: Timestamp,
    /// How long its first status may wait, since it is soon ready or failed.
    pub patience: Duration,
    /// The conditions besides `Ready` that others wait for.
    pub depended_on: &'a [ConditionType],
    /// As it was read.
    pub before: Value,
    /// As it was derived.
    pub after: Value,
}

impl StatusWriter {
    /// Nothing was written yet.
    #[must_use]
    pub fn new(first: Duration, quiet: Duration) -> Self {
        Self {
            first,
            quiet,
            written: Mutex::default(),
        }
    }

    /// The object is gone.
    pub fn forget(&self, uid: Uuid) {
        self.lock().remove(&uid);
    }

    /// It was written.
    pub fn wrote(&self, uid: Uuid, now: Timestamp) {
        self.lock().insert(uid, now);
    }

    /// Returns whether and what to write now.
    ///
    /// # Errors
    /// A status is no JSON.
    pub fn decide(&self, change: &Change<'_>, now: Timestamp) -> Result<Decision, RecordError> {
        let (before, after) = (own(&change.before), own(&change.after));
        if before.iter().filter(counts).eq(after.iter().filter(counts)) {
            return Ok(Decision::Nothing);
        }
        let rev = rev(&change.before).unwrap_or_default();
        let on = change.depended_on;

        let first = later(change.created, change.patience);
        if rev == 0 && now < first && !settled(&after) && !any_holds(&after, on) {
            return Ok(Decision::Later(first));
        }
        let quiet = self.quiet_until(change.uid);
        if rev > 0 && now < quiet && significant(&before, on) == significant(&after, on) {
            return Ok(Decision::Later(quiet));
        }

        let mut patch = StatusPatch::new(change.uid).root(rev);
        for section in SECTIONS {
            if let Some(rev) = change.before.get(section).and_then(self::rev) {
                patch = patch.expect(section, rev);
            }
        }
        for (field, value) in &after {
            if before.get(field) != Some(value) {
                patch = patch.set(field, value)?;
            }
        }
        for field in before.keys().filter(|field| !after.contains_key(*field)) {
            patch = patch.unset(field);
        }
        Ok(Decision::Now(patch))
    }

    /// Until when changes of messages alone are not written.
    fn quiet_until(&self, uid: &str) -> Timestamp {
        let uid = Uuid::try_parse(uid).unwrap_or_default();
        let written = self.lock().get(&uid).copied();
        written.map_or(Timestamp::MIN, |written| later(written, self.quiet))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Timestamp>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Whether a change of this field is worth a write.
fn counts((field, _): &(&String, &Value)) -> bool {
    *field != NEVER_ALONE
}

fn conditions(status: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    status
        .get("conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Ready or failed.
fn settled(status: &Map<String, Value>) -> bool {
    let mut ready =
        conditions(status).filter(|condition| type_of(condition) == Some(ConditionType::Ready));
    ready.any(|ready| {
        let word = |field: &str| ready.get(field).and_then(Value::as_str);
        let reason = word("reason").and_then(|reason| reason.parse().ok());
        word("status") == Some(Status::True.as_str())
            || matches!(reason, Some(Reason::Code(_) | Reason::Terminating))
    })
}

/// Whether a condition that others wait for holds.
fn any_holds(status: &Map<String, Value>, depended_on: &[ConditionType]) -> bool {
    let mut holding =
        conditions(status).filter(|condition| condition.get("status") == Some(&"True".into()));
    holding.any(|condition| type_of(condition).is_some_and(|kind| depended_on.contains(&kind)))
}

fn type_of(condition: &Value) -> Option<ConditionType> {
    condition.get("type")?.as_str()?.parse().ok()
}

/// What somebody may wait for: the rest is for people, who read it a moment later as well.
fn significant(status: &Map<String, Value>, depended_on: &[ConditionType]) -> Vec<(String, Value)> {
    let fields = FIELDS
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), status.get(*field)?.clone())));
    let conditions = conditions(status).filter_map(|condition| {
        let kind = type_of(condition)?;
        let reason: Reason = condition.get("reason")?.as_str()?.parse().ok()?;
        let depended_on = kind == ConditionType::Ready || depended_on.contains(&kind);
        // Between waiting and being under way there is nothing to act on.
        let goes_on = matches!(reason, Reason::Waiting | Reason::InProgress);
        let reason = (!goes_on).then_some(reason);
        depended_on.then(|| (kind.to_string(), json!([condition.get("status"), reason])))
    });
    fields.chain(conditions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status(rev: i64, ready: &str, reason: &str, message: &str) -> Value {
        let conditions =
            json!([{"type": "Ready", "status": ready, "reason": reason, "message": message}]);
        json!({"rev": rev, "phase": "Deploying", "conditions": conditions, "deploy": {"rev": 4}})
    }

    fn decide(
        statuses: &StatusWriter,
        before: &Value,
        after: &Value,
        patience: u64,
        now: i64,
    ) -> Decision {
        let derived = Change {
            uid: UID,
            created: at(0),
            patience: Duration::from_secs(patience),
            depended_on: &[ConditionType::Pod],
            before: before.clone(),
            after: after.clone(),
        };
        statuses.decide(&derived, at(now)).unwrap()
    }

    fn writer() -> StatusWriter {
        StatusWriter::new(Duration::from_secs(5), Duration::from_secs(10))
    }

    #[test]
    fn the_same_is_not_written_whatever_the_sections_say() {
        let mut later = status(3, "True", "Healthy", "a");
        later["deploy"] = json!({"rev": 9});
        assert!(matches!(
            decide(&writer(), &status(3, "True", "Healthy", "a"), &later, 0, 0),
            Decision::Nothing
        ));
    }

    #[test]
    fn the_first_write_waits_until_it_is_ready_or_failed_or_late() {
        let (before, under_way) = (
            status(0, "Unknown", "Waiting", ""),
            status(0, "False", "InProgress", "x"),
        );
        let decide =
            |after: &Value, patience, now| decide(&writer(), &before, after, patience, now);
        assert!(matches!(decide(&under_way, 5, 4), Decision::Later(when) if when == at(5)));
        assert!(matches!(decide(&under_way, 5, 5), Decision::Now(_)));
        assert!(matches!(decide(&under_way, 0, 0), Decision::Now(_)));
        assert!(matches!(
            decide(&status(0, "True", "Healthy", ""), 5, 0),
            Decision::Now(_)
        ));
        assert!(matches!(
            decide(&status(0, "False", "CrashLoop", ""), 5, 0),
            Decision::Now(_)
        ));
    }

    #[test]
    fn words_alone_are_written_at_most_every_ten_seconds() {
        let statuses = writer();
        let before = status(2, "False", "InProgress", "1 of 3");
        statuses.wrote(UID.parse().unwrap(), at(100));
        let words = status(2, "False", "InProgress", "2 of 3");
        assert!(
            matches!(decide(&statuses, &before, &words, 0, 109), Decision::Later(when) if when == at(110))
        );
        assert!(matches!(
            decide(&statuses, &before, &words, 0, 110),
            Decision::Now(_)
        ));
        assert!(matches!(
            decide(
                &statuses,
                &before,
                &status(2, "True", "Healthy", ""),
                0,
                101
            ),
            Decision::Now(_)
        ));
        assert!(matches!(
            decide(
                &statuses,
                &before,
                &status(2, "False", "CrashLoop", ""),
                0,
                101
            ),
            Decision::Now(_)
        ));
        assert!(matches!(
            decide(
                &statuses,
                &before,
                &status(2, "False", "Waiting", ""),
                0,
                101
            ),
            Decision::Later(_)
        ));
    }

    #[test]
    fn timings_are_written_with_the_rest_and_never_alone() {
        let before = status(3, "False", "InProgress", "a");
        let timed = |mut status: Value| {
            status["timings"] = json!([{"stage": "Build", "startedAt": "1970-01-01T00:00:05Z"}]);
            status
        };
        assert!(matches!(
            decide(&writer(), &before, &timed(before.clone()), 0, 1000),
            Decision::Nothing
        ));
        assert!(matches!(
            decide(&writer(), &timed(before.clone()), &before, 0, 1000),
            Decision::Nothing
        ));
        let Decision::Now(patch) = decide(
            &writer(),
            &before,
            &timed(status(3, "True", "Healthy", "b")),
            0,
            0,
        ) else {
            panic!("not written")
        };
        assert!(format!("{patch:?}").contains("timings"), "{patch:?}");
    }

    #[test]
    fn a_condition_that_a_sibling_waits_for_is_written_at_once() {
        let statuses = writer();
        let with = |kind: &str, status: &str| {
            let mut value = self::status(2, "False", "InProgress", "");
            value["conditions"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": kind, "status": status, "reason": "Completed"}));
            value
        };
        statuses.wrote(UID.parse().unwrap(), at(100));
        let decide =
            |before: &Value, kind: &str| decide(&statuses, before, &with(kind, "True"), 105, 101);
        assert!(matches!(
            decide(&with("Pod", "False"), "Pod"),
            Decision::Now(_)
        ));
        assert!(matches!(
            decide(&with("Source", "False"), "Source"),
            Decision::Later(_)
        ));
        let young = status(0, "Unknown", "Waiting", "");
        assert!(matches!(decide(&young, "Pod"), Decision::Now(_)));
        assert!(matches!(decide(&young, "Source"), Decision::Later(_)));
    }
}
