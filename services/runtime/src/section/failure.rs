//! What a section records of work that failed or takes its time. Pure.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::code::Code;
use sequencer_api::status::{self, Section, State};
use uuid::Uuid;

use super::secrets::Versions;
use crate::error::chain;
use crate::retry::{Retry, Waits, chance, later};

/// The most characters of a message in a status (the schema's `maxLength`).
const MAX_MESSAGE: usize = 1024;

/// The most Secrets that a section names (the schema's `maxProperties`).
const MAX_SECRETS: usize = 16;

/// So many checks of what takes its time come at their usual interval; then each is twice as late as
/// the one before, up to sixteen times.
const PATIENT: i32 = 24;

/// An error of a service, as it is recorded.
pub trait Failure: Error {
    /// Its code.
    fn code(&self) -> Code;

    /// When it is tried again.
    fn retry(&self) -> Retry;

    /// Whether it may come from a Secret that was read: then a new version of one is tried at once.
    fn may_be_a_secrets(&self) -> bool {
        false
    }

    /// The state of the section meanwhile.
    fn state(&self) -> State {
        State::Error
    }
}

/// A failure on its way into a section.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// Its code.
    pub code: Code,
    /// What happened and what to do.
    pub message: String,
    /// When it is tried again.
    pub retry: Retry,
    /// Whether it may come from a Secret that was read.
    pub may_be_a_secrets: bool,
    /// The state of the section meanwhile.
    pub state: State,
}

impl Failing {
    /// An error as it is recorded.
    #[must_use]
    pub fn of(error: &impl Failure) -> Self {
        Self {
            code: error.code(),
            message: chain(error),
            retry: error.retry(),
            may_be_a_secrets: error.may_be_a_secrets(),
            state: error.state(),
        }
    }

    /// The failure as people see it beside the section's retry.
    #[must_use]
    pub fn status(&self) -> status::Failure {
        status::Failure::new(self.code, &self.message)
    }
}

impl<E: Failure> From<E> for Failing {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

/// Something that takes its time: nothing is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// What is awaited.
    pub code: Code,
    /// The same in words.
    pub message: String,
    /// When it is handled again.
    pub after: Duration,
    /// The state of the section meanwhile.
    pub state: State,
}

/// What a section records of a failure, given what it recorded before.
#[must_use]
pub fn failed(
    before: &Section,
    generation: i64,
    failing: &Failing,
    read: Versions,
    waits: &Waits,
    uid: Uuid,
    now: Timestamp,
) -> status::Retry {
    // Waiting is no failure: failures begin to count after it.
    let earlier = same_generation(before, generation).filter(|earlier| !earlier.code.is_waiting());
    let attempts = earlier
        .map_or(0, |earlier| earlier.attempts)
        .saturating_add(1);
    let count = u32::try_from(attempts).unwrap_or(1);
    let delay = waits.delay(failing.retry, count, chance(uid, count));

    let read = if failing.may_be_a_secrets {
        read
    } else {
        Versions::new()
    };

    let next = delay.map(|delay| later(now, delay));
    let since = since(earlier, failing.code, now);
    recorded(attempts, since, next, failing.code, &failing.message, read)
}

/// What a section records of something that takes its time, given what it recorded before.
#[must_use]
pub fn waiting(
    before: &Section,
    generation: i64,
    waiting: &Waiting,
    now: Timestamp,
) -> status::Retry {
    let earlier = same_generation(before, generation);
    let checks = earlier
        .filter(|earlier| earlier.code == waiting.code)
        .map_or(0, |earlier| earlier.attempts);
    let doublings = u32::try_from(checks.saturating_sub(PATIENT))
        .unwrap_or_default()
        .min(4);
    let after = waiting.after.saturating_mul(1 << doublings);

    recorded(
        checks.saturating_add(1),
        since(earlier, waiting.code, now),
        Some(later(now, after)),
        waiting.code,
        &waiting.message,
        Versions::new(),
    )
}

fn same_generation(before: &Section, generation: i64) -> Option<&status::Retry> {
    before
        .retry
        .as_ref()
        .filter(|_| before.observed_generation == Some(generation))
}

/// Since when this code has been recorded.
fn since(earlier: Option<&status::Retry>, code: Code, now: Timestamp) -> Time {
    let earlier = earlier.filter(|earlier| earlier.code == code);
    let since = earlier.and_then(|earlier| earlier.since.clone());
    since.unwrap_or(Time(now))
}

fn recorded(
    attempts: i32,
    since: Time,
    at: Option<Timestamp>,
    code: Code,
    message: &str,
    read: Versions,
) -> status::Retry {
    status::Retry {
        attempts,
        since: Some(since),
        next_attempt_at: at.map(Time),
        code,
        message: message.chars().take(MAX_MESSAGE).collect(),
        secret_versions: read.into_iter().take(MAX_SECRETS).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::WAITS;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failing() -> Failing {
        Failing {
            code: Code::SecretNotFound,
            message: "ü".repeat(2000),
            retry: Retry::Backoff,
            may_be_a_secrets: true,
            state: State::Error,
        }
    }

    fn connecting() -> Waiting {
        Waiting {
            code: Code::ConnectorNotConnected,
            message: String::new(),
            after: Duration::from_secs(5),
            state: State::InProgress,
        }
    }

    fn after(retry: status::Retry) -> Section {
        Section {
            observed_generation: Some(1),
            retry: Some(retry),
            ..Section::default()
        }
    }

    fn fail(before: &Section, generation: i64, failing: &Failing) -> status::Retry {
        let read = (0..20).map(|n| (format!("a/{n}"), "7".into())).collect();
        failed(
            before,
            generation,
            failing,
            read,
            &WAITS,
            Uuid::nil(),
            at(1000),
        )
    }

    #[test]
    fn failures_of_one_generation_count_on() {
        let first = fail(&Section::default(), 1, &failing());
        assert_eq!(first.attempts, 1);

        let other = Failing {
            code: Code::ApiServerUnavailable,
            ..failing()
        };

        assert_eq!(fail(&after(first.clone()), 1, &other).attempts, 2);
        assert_eq!(fail(&after(first), 2, &failing()).attempts, 1);
    }

    #[test]
    fn what_fails_in_the_same_way_has_done_so_since_the_first_time() {
        let since = |retry: &status::Retry| retry.since.as_ref().map(|since| since.0.as_second());
        let fail_at = |before: &Section, code, second| {
            let failing = Failing { code, ..failing() };
            let (none, now) = (Versions::new(), at(second));
            failed(before, 1, &failing, none, &WAITS, Uuid::nil(), now)
        };

        let (code, other) = (Code::SecretNotFound, Code::ApiServerUnavailable);
        let first = fail_at(&Section::default(), code, 1000);
        let again = fail_at(&after(first.clone()), code, 1600);
        assert_eq!((since(&first), since(&again)), (Some(1000), Some(1000)));

        let changed = fail_at(&after(again), other, 2000);
        assert_eq!((since(&changed), changed.attempts), (Some(2000), 3));
    }

    #[test]
    fn a_failure_fits_its_schema() {
        let retry = fail(&Section::default(), 1, &failing());
        assert_eq!(retry.message.chars().count(), MAX_MESSAGE);
        assert_eq!(retry.secret_versions.len(), MAX_SECRETS);
    }

    #[test]
    fn only_what_may_come_from_a_secret_names_secrets() {
        let other = Failing {
            may_be_a_secrets: false,
            ..failing()
        };
        assert!(
            fail(&Section::default(), 1, &other)
                .secret_versions
                .is_empty()
        );
    }

    #[test]
    fn waiting_is_no_failure_and_failing_is_no_waiting() {
        let waited = waiting(&Section::default(), 1, &connecting(), at(1000));
        assert_eq!(
            waiting(&after(waited.clone()), 1, &connecting(), at(1000)).attempts,
            2
        );

        let failed = fail(&after(waited), 1, &failing());
        assert_eq!(failed.attempts, 1);
        assert_eq!(
            waiting(&after(failed), 1, &connecting(), at(1000)).attempts,
            1
        );
    }

    #[test]
    fn what_takes_long_is_checked_less_often() {
        let seconds = [0, 23, 24, 25, 28, 1000].map(|earlier| {
            let before = after(recorded(
                earlier,
                Time(at(0)),
                Some(at(0)),
                Code::ConnectorNotConnected,
                "",
                Versions::new(),
            ));
            waiting(&before, 1, &connecting(), at(0))
                .next_attempt_at
                .unwrap()
                .0
                .as_second()
        });
        assert_eq!(seconds, [5, 5, 5, 10, 80, 80]);
    }
}
