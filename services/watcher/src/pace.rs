//! Writing the watcher's part of a status: only what differs, only over what it was derived from, and not for words alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_runtime::cluster::{RecordError, StatusPatch};
use sequencer_runtime::retry::later;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// When statuses are written.
#[derive(Debug)]
pub struct Pace {
    /// How long what is soon ready or failed may be without a first status.
    pub first: Duration,
    /// What nobody waits for is written at most this often.
    pub quiet: Duration,
    written: Mutex<HashMap<Uuid, Timestamp>>,
}

/// What to do about a status that was derived.
#[derive(Debug)]
pub enum Writing {
    /// It says the same.
    Nothing,
    /// Look again then: it may have changed once more.
    Later(Timestamp),
    /// Write it.
    Now(StatusPatch),
}

/// What is written with the rest, and never causes a write.
const BESIDE: &str = "timings";

/// The sections, which are others'.
const SECTIONS: [&str; 8] = ["tunnel", "route", "ingress", "source", "deploy", "image", "publish", "record"];

/// What programs wait for besides conditions: a change of it is written at once. A commit is not among them: it comes with
/// `Ready`.
const FACTS: [&str; 4] = ["observedGeneration", "host", "url", "latestBuild"];

/// An object whose status may be written.
#[derive(Debug)]
pub struct Derived<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// When it was made.
    pub created: Timestamp,
    /// How long its first status may wait, since it is soon ready or failed.
    pub patience: Duration,
    /// The conditions besides `Ready` that others wait for.
    pub watched: &'a [&'a str],
    /// As it was read.
    pub before: Value,
    /// As it was derived.
    pub after: Value,
}

impl Pace {
    /// Nothing was written yet.
    #[must_use]
    pub fn new(first: Duration, quiet: Duration) -> Self {
        Self { first, quiet, written: Mutex::default() }
    }

    /// The object is gone.
    pub fn forget(&self, uid: Uuid) {
        self.lock().remove(&uid);
    }

    /// It was written.
    pub fn wrote(&self, uid: Uuid, now: Timestamp) {
        self.lock().insert(uid, now);
    }

    /// Whether and what to write now.
    ///
    /// # Errors
    /// A status is no JSON.
    pub fn judge(&self, derived: &Derived<'_>, now: Timestamp) -> Result<Writing, RecordError> {
        let (before, after) = (own(&derived.before), own(&derived.after));
        if before.iter().filter(said).eq(after.iter().filter(said)) {
            return Ok(Writing::Nothing);
        }
        let rev = derived.before.get("rev").and_then(Value::as_i64).unwrap_or_default();
        let first = later(derived.created, derived.patience);
        if rev == 0 && !settled(&after) && !awaited(&after, derived.watched) && now < first {
            return Ok(Writing::Later(first));
        }
        let uid = Uuid::try_parse(derived.uid).unwrap_or_default();
        let quiet = self.lock().get(&uid).map_or(Timestamp::MIN, |written| later(*written, self.quiet));
        if rev > 0 && skeleton(&before, derived.watched) == skeleton(&after, derived.watched) && now < quiet {
            return Ok(Writing::Later(quiet));
        }
        let mut patch = StatusPatch::new(derived.uid).root(rev);
        for section in SECTIONS {
            if let Some(rev) =
                derived.before.get(section).and_then(|section| section.get("rev")).and_then(Value::as_i64)
            {
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
        Ok(Writing::Now(patch))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Timestamp>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watcher's own fields.
fn own(status: &Value) -> Map<String, Value> {
    let fields = status.as_object().into_iter().flatten();
    let fields = fields.filter(|(field, _)| *field != "rev" && !SECTIONS.contains(&field.as_str()));
    fields.map(|(field, value)| (field.clone(), value.clone())).collect()
}

/// What is worth a write.
fn said((field, _): &(&String, &Value)) -> bool {
    *field != BESIDE
}

fn conditions(status: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    status.get("conditions").and_then(Value::as_array).into_iter().flatten()
}

/// Ready or failed.
fn settled(status: &Map<String, Value>) -> bool {
    let mut ready = conditions(status).filter(|condition| condition.get("type") == Some(&"Ready".into()));
    ready.any(|ready| {
        let is = |field: &str, value: &str| ready.get(field).and_then(Value::as_str) == Some(value);
        is("status", "True") || is("reason", "Error") || is("reason", "Retrying") || is("reason", "Terminating")
    })
}

/// Whether a condition that others wait for holds.
fn awaited(status: &Map<String, Value>, watched: &[&str]) -> bool {
    let mut holding = conditions(status).filter(|condition| condition.get("status") == Some(&"True".into()));
    holding.any(|condition| condition.get("type").and_then(Value::as_str).is_some_and(|kind| watched.contains(&kind)))
}

/// What somebody may wait for: the rest is for people, who read it a moment later as well.
fn skeleton(status: &Map<String, Value>, watched: &[&str]) -> Vec<(String, Value)> {
    let facts = FACTS.iter().filter_map(|field| Some(((*field).to_owned(), status.get(*field)?.clone())));
    let conditions = conditions(status).filter_map(|condition| {
        let kind = condition.get("type")?.as_str()?;
        let reason = condition.get("reason")?.as_str()?;
        let awaited = kind == "Ready" || watched.contains(&kind);
        // Between waiting and being under way there is nothing to act on.
        let word = if matches!(reason, "Waiting" | "InProgress") { "" } else { reason };
        awaited.then(|| (kind.to_owned(), json!([condition.get("status"), word])))
    });
    facts.chain(conditions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status(rev: i64, ready: &str, reason: &str, message: &str) -> Value {
        let conditions = json!([{"type": "Ready", "status": ready, "reason": reason, "message": message}]);
        json!({"rev": rev, "phase": "Deploying", "conditions": conditions, "deploy": {"rev": 4}})
    }

    fn judge(pace: &Pace, before: &Value, after: &Value, patience: u64, now: i64) -> Writing {
        let derived = Derived {
            uid: UID,
            created: at(0),
            patience: Duration::from_secs(patience),
            watched: &["Pod"],
            before: before.clone(),
            after: after.clone(),
        };
        pace.judge(&derived, at(now)).unwrap()
    }

    fn pace() -> Pace {
        Pace::new(Duration::from_secs(5), Duration::from_secs(10))
    }

    #[test]
    fn the_same_is_not_written_whatever_the_sections_say() {
        let mut later = status(3, "True", "Healthy", "a");
        later["deploy"] = json!({"rev": 9});
        assert!(matches!(judge(&pace(), &status(3, "True", "Healthy", "a"), &later, 0, 0), Writing::Nothing));
    }

    #[test]
    fn the_first_write_waits_until_it_is_ready_or_failed_or_late() {
        let (before, under_way) = (status(0, "Unknown", "Waiting", ""), status(0, "False", "InProgress", "x"));
        let judge = |after: &Value, patience, now| judge(&pace(), &before, after, patience, now);
        assert!(matches!(judge(&under_way, 5, 4), Writing::Later(when) if when == at(5)));
        assert!(matches!(judge(&under_way, 5, 5), Writing::Now(_)));
        assert!(matches!(judge(&under_way, 0, 0), Writing::Now(_)));
        assert!(matches!(judge(&status(0, "True", "Healthy", ""), 5, 0), Writing::Now(_)));
        assert!(matches!(judge(&status(0, "False", "Error", ""), 5, 0), Writing::Now(_)));
    }

    #[test]
    fn words_alone_are_written_at_most_every_ten_seconds() {
        let pace = pace();
        let before = status(2, "False", "InProgress", "1 of 3");
        pace.wrote(UID.parse().unwrap(), at(100));
        let words = status(2, "False", "InProgress", "2 of 3");
        assert!(matches!(judge(&pace, &before, &words, 0, 109), Writing::Later(when) if when == at(110)));
        assert!(matches!(judge(&pace, &before, &words, 0, 110), Writing::Now(_)));
        assert!(matches!(judge(&pace, &before, &status(2, "True", "Healthy", ""), 0, 101), Writing::Now(_)));
        assert!(matches!(judge(&pace, &before, &status(2, "False", "Error", ""), 0, 101), Writing::Now(_)));
        assert!(matches!(judge(&pace, &before, &status(2, "False", "Waiting", ""), 0, 101), Writing::Later(_)));
    }

    #[test]
    fn timings_are_written_with_the_rest_and_never_alone() {
        let before = status(3, "False", "InProgress", "a");
        let timed = |mut status: Value| {
            status["timings"] = json!([{"stage": "Build", "startedAt": "1970-01-01T00:00:05Z"}]);
            status
        };
        assert!(matches!(judge(&pace(), &before, &timed(before.clone()), 0, 1000), Writing::Nothing));
        assert!(matches!(judge(&pace(), &timed(before.clone()), &before, 0, 1000), Writing::Nothing));
        let Writing::Now(patch) = judge(&pace(), &before, &timed(status(3, "True", "Healthy", "b")), 0, 0) else {
            panic!("not written")
        };
        assert!(format!("{patch:?}").contains("timings"), "{patch:?}");
    }

    #[test]
    fn a_condition_that_a_sibling_waits_for_is_written_at_once() {
        let pace = pace();
        let with = |kind: &str, status: &str| {
            let mut value = self::status(2, "False", "InProgress", "");
            value["conditions"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": kind, "status": status, "reason": "Completed"}));
            value
        };
        pace.wrote(UID.parse().unwrap(), at(100));
        let judge = |before: &Value, kind: &str| judge(&pace, before, &with(kind, "True"), 105, 101);
        assert!(matches!(judge(&with("Pod", "False"), "Pod"), Writing::Now(_)));
        assert!(matches!(judge(&with("Source", "False"), "Source"), Writing::Later(_)));
        let young = status(0, "Unknown", "Waiting", "");
        assert!(matches!(judge(&young, "Pod"), Writing::Now(_)));
        assert!(matches!(judge(&young, "Source"), Writing::Later(_)));
    }
}
