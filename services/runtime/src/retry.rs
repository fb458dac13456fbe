//! When something that failed is tried again. Pure: the time and the chance are given.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::args::Periods;

/// How a failure is tried again; each error of a service says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A person has to do something. It is still tried, as seldom as possible, and heals by
    /// itself.
    Stalled,
    /// A person has to change something, or to ask: the same would only fail in the same way, and
    /// costs too much to try.
    Never,
    /// Nothing is wrong; check again after this long.
    Wait(Duration),
    /// Again, each time after a longer wait.
    Backoff,
    /// It is ours, and the object is as good as before: the first time again at once, and then as
    /// [`Retry::Backoff`], so that an object which does it each time makes no loop.
    AtOnce,
}

/// The waits.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl From<&Periods> for Waits {
    fn from(periods: &Periods) -> Self {
        Self {
            first: periods.min_backoff,
            longest: periods.max_backoff,
        }
    }
}

impl Waits {
    /// The wait after the `attempts`-th failure in a row. `chance` is in `0.0..1.0` and takes up to
    /// half of it away, so that what failed together does not come back together.
    /// None: it is not tried again by itself.
    #[must_use]
    pub fn delay(&self, retry: Retry, attempts: u32, chance: f64) -> Option<Duration> {
        match retry {
            Retry::Never => None,
            Retry::Wait(delay) => Some(delay),
            Retry::Stalled => Some(self.longest),
            Retry::AtOnce if attempts <= 1 => Some(Duration::ZERO),
            Retry::AtOnce => self.delay(Retry::Backoff, attempts.saturating_sub(1), chance),
            Retry::Backoff => {
                let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
                let delay = self.first.saturating_mul(doubled).min(self.longest);
                Some(delay.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0))
            }
        }
    }
}

/// `wait` after `now`.
#[must_use]
pub fn later(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A chance in `0.0..1.0` that differs between objects and attempts, and is the same for the same.
#[must_use]
pub fn chance(object: Uuid, attempts: u32) -> f64 {
    // FNV-1a: spreads well enough, and needs no state.
    let bytes = object
        .into_bytes()
        .into_iter()
        .chain(attempts.to_be_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    f64::from(hash) / (f64::from(u32::MAX) + 1.0)
}

/// The periods of the tests.
#[cfg(test)]
pub(crate) const WAITS: Waits = Waits {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(900),
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(retry: Retry, attempts: u32) -> u64 {
        WAITS.delay(retry, attempts, 0.0).unwrap().as_secs()
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let waits = [1, 2, 3, 8, 9, 1000].map(|attempts| seconds(Retry::Backoff, attempts));
        assert_eq!(waits, [5, 10, 20, 640, 900, 900]);
    }

    #[test]
    fn what_is_ours_is_tried_at_once_and_only_once() {
        let waits = [1, 2, 3, 1000].map(|attempts| seconds(Retry::AtOnce, attempts));
        assert_eq!(waits, [0, 5, 10, 900]);
    }

    #[test]
    fn what_a_person_must_heal_is_looked_at_seldom_or_once_he_did_something() {
        assert_eq!(WAITS.delay(Retry::Stalled, 1, 0.9), Some(WAITS.longest));
        assert_eq!(
            WAITS.delay(Retry::Stalled, u32::MAX, 0.0),
            Some(WAITS.longest)
        );
        assert_eq!(WAITS.delay(Retry::Never, 1, 0.0), None);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_longest_nor_under_half_the_first(attempts: u32, chance in 0.0..1.0) {
            let wait = WAITS.delay(Retry::Backoff, attempts, chance).unwrap();
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
