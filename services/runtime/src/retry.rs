//! When something that failed is tried again. Pure: the time and the chance are given.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::code::Code;
use sequencer_api::status;
use uuid::Uuid;

use crate::args::Periods;

/// The most characters of a message in a status.
const MESSAGE: usize = 1024;

/// How a failure is tried again; each error of a service says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A person has to do something. It is still looked at, as seldom as possible, and heals by itself.
    Stalled,
    /// Nothing is wrong; look again after this long.
    Wait(Duration),
    /// Again, each time after a longer wait.
    Backoff,
}

/// The waits.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// Between looks at something that fails perhaps because of a Secret.
    pub secret: Duration,
}

impl From<&Periods> for Waits {
    fn from(periods: &Periods) -> Self {
        Self { first: periods.min_backoff, longest: periods.max_backoff, secret: periods.secret_retry }
    }
}

impl Waits {
    /// The wait after the `attempts`-th failure in a row. `chance` is in `0.0..1.0` and takes up to half of it away, so
    /// that what failed together does not come back together.
    #[must_use]
    pub fn delay(&self, retry: Retry, attempts: u32, chance: f64) -> Duration {
        match retry {
            Retry::Wait(delay) => delay,
            Retry::Stalled => self.longest,
            Retry::Backoff => {
                let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
                let delay = self.first.saturating_mul(doubled).min(self.longest);
                delay.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
            }
        }
    }

    /// When the watcher looks at something whose next attempt is at `next`: sooner if a Secret may be the cause.
    #[must_use]
    pub fn look_at(&self, next: Timestamp, because_of_secret: bool, now: Timestamp) -> Timestamp {
        if because_of_secret { next.min(later(now, self.secret)) } else { next }
    }
}

/// A failure as its section will tell it.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Its code.
    pub code: Code,
    /// What happened and what to do; the code is put before it where people see it.
    pub message: String,
    /// How it is tried again.
    pub retry: Retry,
    /// The Secrets that may be the cause, `<namespace>/<name>`, with their resourceVersions (none: an empty one).
    pub secrets: BTreeMap<String, String>,
}

/// What a section records of a failure of the object `uid`, after what it recorded of the one before.
#[must_use]
pub fn failed(
    before: Option<&status::Retry>,
    failing: Failing,
    waits: &Waits,
    uid: Uuid,
    now: Timestamp,
) -> status::Retry {
    let attempts = before.map_or(0, |before| before.attempts).saturating_add(1);
    let count = u32::try_from(attempts).unwrap_or(1);
    let delay = waits.delay(failing.retry, count, chance(uid, count));
    status::Retry {
        attempts,
        next_attempt_at: Time(later(now, delay)),
        code: failing.code.to_string(),
        message: failing.message.chars().take(MESSAGE).collect(),
        secret_versions: failing.secrets,
    }
}

/// Whether a worker tries again now: the wait is over, or one of the Secrets changed.
#[must_use]
pub fn due(next: Timestamp, secrets_changed: bool, now: Timestamp) -> bool {
    secrets_changed || now >= next
}

/// `wait` after `now`.
#[must_use]
pub fn later(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// A chance in `0.0..1.0` that differs between objects and attempts, and is the same for the same.
#[must_use]
pub fn chance(object: Uuid, attempts: u32) -> f64 {
    // FNV-1a: spreads well enough, and needs no state.
    let bytes = object.into_bytes().into_iter().chain(attempts.to_be_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAITS: Waits =
        Waits { first: Duration::from_secs(5), longest: Duration::from_secs(900), secret: Duration::from_secs(30) };

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let waits = [1, 2, 3, 8, 9, 1000].map(|attempts| WAITS.delay(Retry::Backoff, attempts, 0.0).as_secs());
        assert_eq!(waits, [5, 10, 20, 640, 900, 900]);
    }

    #[test]
    fn what_a_person_must_heal_is_looked_at_seldom_but_for_ever() {
        assert_eq!(WAITS.delay(Retry::Stalled, 1, 0.9), WAITS.longest);
        assert_eq!(WAITS.delay(Retry::Stalled, u32::MAX, 0.0), WAITS.longest);
    }

    #[test]
    fn a_secret_is_looked_at_every_half_minute_and_used_when_it_changed_or_the_wait_is_over() {
        let now = Timestamp::from_second(1000).unwrap();
        let (soon, late) = (later(now, Duration::from_secs(10)), later(now, Duration::from_secs(600)));
        assert_eq!(WAITS.look_at(late, true, now), later(now, WAITS.secret));
        assert_eq!(WAITS.look_at(late, false, now), late);
        assert_eq!(WAITS.look_at(soon, true, now), soon);
        assert!(!due(late, false, now));
        assert!(due(late, true, now));
        assert!(due(late, false, late));
    }

    #[test]
    fn a_failure_counts_on_and_its_message_always_fits() {
        let now = Timestamp::from_second(1000).unwrap();
        let failing = || Failing {
            code: Code::NO_SECRET,
            message: "ü".repeat(2000),
            retry: Retry::Backoff,
            secrets: BTreeMap::from([("a/b".into(), "7".into())]),
        };
        let first = failed(None, failing(), &WAITS, Uuid::nil(), now);
        assert_eq!((first.attempts, first.code.as_str(), first.message.chars().count()), (1, "E#1007", MESSAGE));
        let second = failed(Some(&first), failing(), &WAITS, Uuid::nil(), now);
        assert_eq!((second.attempts, second.secret_versions.len()), (2, 1));
        assert!(second.next_attempt_at.0 >= later(now, WAITS.first));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_longest_nor_under_half_the_first(attempts: u32, chance in 0.0..1.0) {
            let wait = WAITS.delay(Retry::Backoff, attempts, chance);
            prop_assert!(wait <= WAITS.longest && wait >= WAITS.first / 2);
        }

        #[test]
        fn chances_are_below_one(object: u128, attempts: u32) {
            prop_assert!((0.0..1.0).contains(&chance(Uuid::from_u128(object), attempts)));
        }

        #[test]
        fn no_time_is_too_long(seconds: u64) {
            prop_assert!(later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds)) >= Timestamp::UNIX_EPOCH);
        }
    }
}
