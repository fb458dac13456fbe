//! Whether a section is written now, later or not at all. Pure, and the memory that it needs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_api::status::component::DeploySection;
use tokio::time::Instant;

use crate::queue::Key;

/// A start that takes no longer is written down once, when it is done.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// Messages and counts alone are written at most this often.
pub(crate) const COUNTS: Duration = Duration::from_secs(10);

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

/// Decides. `differs` is how long the status has differed from what is, `written` how long ago it was written.
pub(crate) fn write(before: &DeploySection, after: &DeploySection, differs: Duration, written: Duration) -> Write {
    let wait = |period: Duration, passed: Duration| match period.checked_sub(passed) {
        Some(left) if !left.is_zero() => Write::Later(left),
        _ => Write::Now,
    };
    if before == after {
        Write::Nothing
    } else if without_counts(before) == without_counts(after) {
        wait(COUNTS, written)
    } else if may_pass(after) {
        wait(QUIET, differs)
    } else {
        Write::Now
    }
}

/// What may be over before anybody looks.
fn may_pass(section: &DeploySection) -> bool {
    let unschedulable = Code::UNSCHEDULABLE.to_string();
    match section.section.state {
        Some(State::InProgress | State::Waiting) => true,
        Some(State::Error) => section.failure.as_ref().is_some_and(|failure| failure.code == unschedulable),
        _ => false,
    }
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

    /// How long the object has differed, from now on if it did not, and how long ago it was written.
    pub(crate) fn times(&self, key: &Key) -> (Duration, Duration) {
        self.change(key, |times| {
            let differs = times.differs.get_or_insert_with(Instant::now).elapsed();
            (differs, times.written.map_or(Duration::MAX, |written| written.elapsed()))
        })
    }

    /// It was written.
    pub(crate) fn written(&self, key: &Key) {
        self.change(key, |times| *times = Times { differs: None, written: Some(Instant::now()) });
    }

    /// It does not differ.
    pub(crate) fn same(&self, key: &Key) {
        self.change(key, |times| times.differs = None);
    }

    /// It is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::status::{Failure, Section};

    use super::*;

    const LONG: Duration = Duration::MAX;

    fn section(state: State) -> DeploySection {
        DeploySection { section: Section { state: Some(state), ..Section::default() }, ..DeploySection::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_quick_start_is_written_once_and_a_slow_one_twice() {
        let (new, starting) = (DeploySection::default(), section(State::InProgress));
        assert_eq!(write(&new, &starting, seconds(1), LONG), Write::Later(seconds(4)));
        assert_eq!(write(&new, &section(State::Healthy), seconds(1), LONG), Write::Now);
        assert_eq!(write(&new, &starting, seconds(5), LONG), Write::Now);
        assert_eq!(write(&starting, &starting, seconds(9), seconds(4)), Write::Nothing);
        assert_eq!(write(&starting, &section(State::Error), seconds(0), seconds(0)), Write::Now);
    }

    #[test]
    fn counts_and_messages_alone_wait_ten_seconds() {
        let failure = |message: &str| Some(Failure { message: Some(message.into()), ..Failure::default() });
        let one = DeploySection { ready_replicas: Some(1), failure: failure("a"), ..section(State::Error) };
        let two = DeploySection { ready_replicas: Some(2), failure: failure("b"), ..section(State::Error) };
        assert_eq!(write(&one, &two, seconds(60), seconds(3)), Write::Later(seconds(7)));
        assert_eq!(write(&one, &two, seconds(0), seconds(10)), Write::Now);
    }

    #[test]
    fn a_pod_that_finds_no_node_at_once_is_no_failure_yet() {
        let code = |code: Code| {
            let failure = Failure { code: code.to_string(), ..Failure::default() };
            DeploySection { failure: Some(failure), ..section(State::Error) }
        };
        let write = |code_| write(&DeploySection::default(), &code(code_), seconds(0), LONG);
        assert_eq!(write(Code::UNSCHEDULABLE), Write::Later(QUIET));
        assert_eq!(write(Code::IMAGE_PULL), Write::Now);
    }
}
