//! Whether a section is written now, later or not at all. Pure, and the memory that it needs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_api::status::component::DeploySection;
use tokio::time::Instant;

use crate::queue::Key;

/// What served, and shall again: if that takes no longer, it is written down once, when it is done.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// The same for what has never served: what it waits for stands in its conditions, which the
/// watcher writes.
const FIRST: Duration = Duration::from_secs(20);

/// Messages and counts alone are written at most this often.
const COUNTS: Duration = Duration::from_secs(10);

/// What goes on is written at most this often, whether it waits for less or began meanwhile: who
/// waits, waits for its end.
const PROGRESS: Duration = Duration::from_secs(30);

/// Whether to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It stands there already.
    Nothing,
    /// Now.
    Now,
    /// After so long, if it is still so.
    Later(Duration),
}

/// Decides. `awaited` is whether a sibling waits for what comes before the pods, `differs` how long
/// the status has differed from what is, `written` how long ago it was written.
pub(crate) fn write(
    before: &DeploySection,
    after: &DeploySection,
    awaited: bool,
    differs: Duration,
    written: Duration,
) -> Write {
    if before == after {
        return Write::Nothing;
    }
    if awaited && (before.services != after.services || before.revision != after.revision) {
        return Write::Now;
    }
    let left = if without_counts(before) == without_counts(after) {
        COUNTS.saturating_sub(written)
    } else if goes_on(before) && goes_on(after) && same_generation(before, after) {
        QUIET
            .saturating_sub(differs)
            .max(PROGRESS.saturating_sub(written))
    } else if goes_on(after) && before.section.state.is_none() {
        FIRST.saturating_sub(differs)
    } else if goes_on(after) || is_unschedulable(after) {
        QUIET.saturating_sub(differs)
    } else {
        Duration::ZERO
    };
    if left.is_zero() {
        Write::Now
    } else {
        Write::Later(left)
    }
}

/// What may be over before anybody looks.
fn goes_on(section: &DeploySection) -> bool {
    matches!(
        section.section.state,
        Some(State::InProgress | State::Waiting)
    )
}

/// A pod that finds no node at once may find one soon.
fn is_unschedulable(section: &DeploySection) -> bool {
    section.section.state == Some(State::Error)
        && section
            .failure
            .as_ref()
            .is_some_and(|failure| failure.code == Code::Unschedulable)
}

fn same_generation(before: &DeploySection, after: &DeploySection) -> bool {
    before.section.observed_generation == after.section.observed_generation
}

/// Without what changes all the time.
fn without_counts(section: &DeploySection) -> DeploySection {
    let mut rest = section.clone();
    rest.section.rev = 0;
    rest.ready_replicas = None;
    rest.replicas = None;
    for waiting in &mut rest.waiting_for {
        waiting.now = None;
    }
    if let Some(failure) = &mut rest.failure {
        failure.message = None;
        failure.log_tail.clear();
    }
    if let Some(retry) = &mut rest.section.retry {
        retry.message.clear();
    }
    rest
}

/// When each object began to differ from its status, and when it was last written.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Key, Times>>);

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    differs: Option<Instant>,
    written: Option<Instant>,
}

impl Memory {
    fn change<T>(&self, key: &Key, change: impl FnOnce(&mut Times) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(key.clone()).or_default())
    }

    /// How long the object has differed, from now on if it did not, and how long ago it was
    /// written.
    pub(crate) fn times(&self, key: &Key) -> (Duration, Duration) {
        self.change(key, |times| {
            let differs = times.differs.get_or_insert_with(Instant::now).elapsed();
            (
                differs,
                times
                    .written
                    .map_or(Duration::MAX, |written| written.elapsed()),
            )
        })
    }

    /// It was written.
    pub(crate) fn written(&self, key: &Key) {
        self.change(key, |times| {
            *times = Times {
                differs: None,
                written: Some(Instant::now()),
            }
        });
    }

    /// It does not differ.
    pub(crate) fn same(&self, key: &Key) {
        self.change(key, |times| times.differs = None);
    }

    /// It is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::status::{Failure, Section};

    use super::*;

    const LONG: Duration = Duration::MAX;

    fn section(state: State) -> DeploySection {
        DeploySection {
            section: Section {
                state: Some(state),
                ..Section::default()
            },
            ..DeploySection::default()
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Where no sibling waits.
    fn write(
        before: &DeploySection,
        after: &DeploySection,
        differs: Duration,
        written: Duration,
    ) -> Write {
        super::write(before, after, false, differs, written)
    }

    #[test]
    fn what_a_sibling_waits_for_is_written_at_once() {
        let waiting = section(State::Waiting);
        let started = DeploySection {
            revision: Some("a".into()),
            ..section(State::InProgress)
        };
        let ready = DeploySection {
            ready_replicas: Some(1),
            ..started.clone()
        };
        let write =
            |before, after, awaited| super::write(before, after, awaited, seconds(1), seconds(1));
        assert_eq!(write(&waiting, &started, true), Write::Now);
        assert_eq!(write(&waiting, &started, false), Write::Later(seconds(29)));
        assert_eq!(write(&started, &ready, true), Write::Later(seconds(9)));
    }

    #[test]
    fn a_quick_start_is_written_once_and_a_slow_one_twice() {
        let (new, starting) = (DeploySection::default(), section(State::InProgress));
        assert_eq!(
            write(&new, &starting, seconds(1), LONG),
            Write::Later(seconds(19))
        );
        assert_eq!(
            write(&new, &section(State::Healthy), seconds(1), LONG),
            Write::Now
        );
        assert_eq!(write(&new, &starting, seconds(20), LONG), Write::Now);
        assert_eq!(
            write(&starting, &starting, seconds(9), seconds(4)),
            Write::Nothing
        );
        assert_eq!(
            write(&starting, &section(State::Error), seconds(0), seconds(0)),
            Write::Now
        );
        assert_eq!(
            write(&starting, &section(State::Healthy), seconds(0), seconds(0)),
            Write::Now
        );
    }

    #[test]
    fn what_served_tells_sooner_that_it_does_not() {
        let starting = section(State::InProgress);
        assert_eq!(
            write(&section(State::Healthy), &starting, seconds(1), LONG),
            Write::Later(seconds(4))
        );
        assert_eq!(
            write(&section(State::Error), &starting, seconds(5), LONG),
            Write::Now
        );
    }

    #[test]
    fn what_goes_on_is_written_every_half_minute_and_a_new_spec_sooner() {
        let (waiting, starting) = (section(State::Waiting), section(State::InProgress));
        assert_eq!(
            write(&waiting, &starting, seconds(9), seconds(10)),
            Write::Later(seconds(20))
        );
        assert_eq!(
            write(&waiting, &starting, seconds(1), seconds(29)),
            Write::Later(seconds(4))
        );
        assert_eq!(
            write(&waiting, &starting, seconds(9), seconds(30)),
            Write::Now
        );
        let mut newer = starting.clone();
        newer.section.observed_generation = Some(2);
        assert_eq!(
            write(&starting, &newer, seconds(1), seconds(1)),
            Write::Later(seconds(4))
        );
    }

    #[test]
    fn counts_and_messages_alone_wait_ten_seconds() {
        let failure = |message: &str| Some(Failure::new(Code::CrashLoop, message));
        let one = DeploySection {
            ready_replicas: Some(1),
            failure: failure("a"),
            ..section(State::Error)
        };
        let two = DeploySection {
            ready_replicas: Some(2),
            failure: failure("b"),
            ..section(State::Error)
        };
        assert_eq!(
            write(&one, &two, seconds(60), seconds(3)),
            Write::Later(seconds(7))
        );
        assert_eq!(write(&one, &two, seconds(0), seconds(10)), Write::Now);
    }

    #[test]
    fn a_pod_that_finds_no_node_at_once_is_no_failure_yet() {
        let code = |code: Code| DeploySection {
            failure: Some(Failure::new(code, "")),
            ..section(State::Error)
        };
        let write = |code_| write(&DeploySection::default(), &code(code_), seconds(0), LONG);
        assert_eq!(write(Code::Unschedulable), Write::Later(QUIET));
        assert_eq!(write(Code::ImagePullFailed), Write::Now);
    }
}
