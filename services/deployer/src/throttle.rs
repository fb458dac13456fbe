//! How many Deployments are rolled out at once for what their users did not change: new settings of
//! the chart concern all of them, and whatever is wrong with these shall not meet all at once.
//!
//! Nothing is stored. A process that begins anew may roll out a few more than it would have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_runtime::retry::later;

/// How many are rolled out at once.
const AT_ONCE: usize = 3;

/// How long a roll-out counts that does not become healthy: three that do not, hold up all others
/// for this long.
const LONGEST: Duration = Duration::from_secs(600);

/// The roll-outs that are under way, by the uid of the Component.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, Timestamp>>);

impl Throttle {
    /// Begins a roll-out. Returns false if as many as may be are under way.
    pub(crate) fn begin(&self, uid: &str, now: Timestamp) -> bool {
        self.with(|under_way| {
            // A time to come is none: somebody set the clock back.
            under_way.retain(|_uid, began| *began <= now && now < later(*began, LONGEST));
            let may = under_way.len() < AT_ONCE || under_way.contains_key(uid);
            if may {
                under_way.entry(uid.into()).or_insert(now);
            }
            may
        })
    }

    /// A roll-out is done, or its Component is gone.
    pub(crate) fn end(&self, uid: &str) {
        self.with(|under_way| under_way.remove(uid));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Timestamp>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_few_are_rolled_out_at_once_and_the_next_when_one_is_done() {
        let throttle = Throttle::default();

        assert!(["a", "b", "c"].map(|uid| throttle.begin(uid, at(0))) == [true; 3]);
        assert!(!throttle.begin("d", at(1)));
        // It is under way already.
        assert!(throttle.begin("b", at(1)));

        throttle.end("b");
        assert!(throttle.begin("d", at(2)));
        assert!(!throttle.begin("b", at(2)));
    }

    #[test]
    fn one_that_never_becomes_healthy_holds_others_up_for_a_while_only() {
        let throttle = Throttle::default();
        for uid in ["a", "b", "c"] {
            throttle.begin(uid, at(0));
        }

        assert!(!throttle.begin("d", at(599)));
        assert!(throttle.begin("d", at(600)));
    }
}
