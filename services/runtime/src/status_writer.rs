//! When a status is written: one rule for every service.
//!
//! An outcome is written at once. Progress is written once it has lasted long enough for somebody
//! to read it, so that what is over at once costs one write; a wait for something slow is written
//! sooner. Words and counts alone are written every few seconds at most.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::retry::later;

/// How long progress of a service's own work has to last: what is over sooner costs one write.
pub const PROGRESS: Duration = Duration::from_secs(4);

/// How long progress has to last that is derived from what services record: longer, so that what
/// they record meanwhile is in it.
pub const DERIVED_PROGRESS: Duration = Duration::from_secs(5);

/// How long a wait for something slow has to last.
pub const WAIT: Duration = Duration::from_secs(1);

/// How often words and counts alone are written at most.
pub const WORDS: Duration = Duration::from_secs(5);

/// How what is true differs from what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// In messages, counts and lines of logs: nobody acts by them.
    Words,
    /// In how far the work has come, which may go on before anybody reads it.
    Progress,
    /// In what it waits for, which is known to be slow.
    Wait,
    /// In something that somebody may wait for.
    Outcome,
}

/// What to do about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none.
    Nothing,
    /// Decide again then, by what is true then.
    Later(Timestamp),
    /// Write it.
    Now,
}

/// Decides when the statuses of one service are written. `K` names a status.
#[derive(Debug)]
pub struct StatusWriter<K> {
    progress: Duration,
    times: Mutex<HashMap<K, Times>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// Since when it has differed by more than words.
    differs: Option<Timestamp>,
    /// Since when it has waited for something slow that is not written.
    waits: Option<Timestamp>,
    written: Option<Timestamp>,
}

impl<K: Hash + Eq> StatusWriter<K> {
    /// Nothing was written yet. Progress has to last for `progress` before it is.
    #[must_use]
    pub fn new(progress: Duration) -> Self {
        Self {
            progress,
            times: Mutex::default(),
        }
    }

    /// Decides whether a status is written, which differs so from what is true. None: it does not.
    pub fn decide(&self, status: K, difference: Option<Difference>, now: Timestamp) -> Decision {
        let mut times = self.times();
        let Some(difference) = difference else {
            if let Some(known) = times.get_mut(&status) {
                known.differs = None;
                known.waits = None;
            }
            return Decision::Nothing;
        };

        let known = times.entry(status).or_default();
        // A time to come is none: somebody set the clock back.
        let past = |time: &Timestamp| *time <= now;
        let due = match difference {
            Difference::Outcome => now,
            Difference::Progress | Difference::Wait => {
                let since = known.differs.filter(past).unwrap_or(now);
                known.differs = Some(since);
                later(since, self.progress)
            }
            Difference::Words => {
                let written = known.written.filter(past);
                written.map_or(now, |written| later(written, WORDS))
            }
        };

        known.waits =
            (difference == Difference::Wait).then(|| known.waits.filter(past).unwrap_or(now));

        let due = known.waits.map_or(due, |since| due.min(later(since, WAIT)));
        if due <= now {
            Decision::Now
        } else {
            Decision::Later(due)
        }
    }

    /// The status was written.
    pub fn wrote(&self, status: K, now: Timestamp) {
        let written = Times {
            written: Some(now),
            ..Times::default()
        };
        self.times().insert(status, written);
    }

    /// The object is gone.
    pub fn forget(&self, status: &K) {
        self.times().remove(status);
    }

    fn times(&self) -> MutexGuard<'_, HashMap<K, Times>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> StatusWriter<&'static str> {
        StatusWriter::new(Duration::from_millis(1500))
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn an_outcome_is_written_at_once_and_what_is_the_same_never() {
        let writer = writer();
        writer.wrote("a", at(1000));

        assert_eq!(
            writer.decide("a", Some(Difference::Outcome), at(1001)),
            Decision::Now
        );
        assert_eq!(writer.decide("a", None, at(90_000)), Decision::Nothing);
    }

    #[test]
    fn progress_is_written_once_it_has_lasted() {
        let writer = writer();
        let progress = Some(Difference::Progress);

        assert_eq!(
            writer.decide("a", progress, at(0)),
            Decision::Later(at(1500))
        );
        assert_eq!(
            writer.decide("a", progress, at(1000)),
            Decision::Later(at(1500))
        );
        assert_eq!(writer.decide("a", progress, at(1500)), Decision::Now);
    }

    #[test]
    fn a_wait_for_something_slow_is_written_sooner() {
        let writer = writer();
        let wait = Some(Difference::Wait);

        assert_eq!(writer.decide("a", wait, at(0)), Decision::Later(at(1000)));
        assert_eq!(writer.decide("a", wait, at(1000)), Decision::Now);
    }

    #[test]
    fn a_wait_has_to_last_however_long_other_progress_has() {
        let writer = StatusWriter::new(PROGRESS);
        writer.decide("a", Some(Difference::Progress), at(0));
        let wait = Some(Difference::Wait);

        assert_eq!(
            writer.decide("a", wait, at(2000)),
            Decision::Later(at(3000))
        );
        writer.decide("a", Some(Difference::Progress), at(2500));
        assert_eq!(
            writer.decide("a", wait, at(2600)),
            Decision::Later(at(3600))
        );
        assert_eq!(writer.decide("a", wait, at(3600)), Decision::Now);
    }

    #[test]
    fn progress_that_is_undone_or_written_counts_anew() {
        for undo in [
            |writer: &StatusWriter<&str>| {
                writer.decide("a", None, at(1000));
            },
            |writer: &StatusWriter<&str>| writer.wrote("a", at(1000)),
        ] {
            let writer = writer();
            writer.decide("a", Some(Difference::Progress), at(0));
            undo(&writer);

            assert_eq!(
                writer.decide("a", Some(Difference::Progress), at(2000)),
                Decision::Later(at(3500))
            );
        }
    }

    #[test]
    fn words_alone_are_written_every_five_seconds() {
        let writer = writer();
        let words = Some(Difference::Words);

        assert_eq!(writer.decide("a", words, at(0)), Decision::Now);
        writer.wrote("a", at(0));
        assert_eq!(
            writer.decide("a", words, at(4000)),
            Decision::Later(at(5000))
        );
        assert_eq!(writer.decide("a", words, at(5000)), Decision::Now);
    }

    #[test]
    fn a_clock_that_is_set_back_withholds_nothing() {
        let writer = writer();
        writer.wrote("a", at(3_600_000));
        writer.decide("b", Some(Difference::Progress), at(3_600_000));

        assert_eq!(
            writer.decide("a", Some(Difference::Words), at(0)),
            Decision::Now
        );
        assert_eq!(
            writer.decide("b", Some(Difference::Progress), at(0)),
            Decision::Later(at(1500))
        );
    }

    #[test]
    fn each_status_has_its_own_times() {
        let writer = writer();
        writer.wrote("a", at(0));

        assert_eq!(
            writer.decide("b", Some(Difference::Words), at(1)),
            Decision::Now
        );
    }
}
