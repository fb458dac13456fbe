//! One handler at a time for each subject: a repeat that comes while its forerunner is handled
//! waits, in no slot of its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is being handled, and what waits behind it.
#[derive(Debug)]
pub(super) struct Singleflight<M>(Mutex<HashMap<String, Option<M>>>);

impl<M> Default for Singleflight<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M: Clone> Singleflight<M> {
    /// Gives the message back if nothing of its subject is being handled; now it is. Otherwise
    /// keeps it, in the place of one that waits already, which is returned as the second.
    pub(super) fn begin(&self, subject: &str, message: M) -> (Option<M>, Option<M>) {
        let mut all = self.lock();
        match all.get_mut(subject) {
            Some(waiting) => (None, waiting.replace(message)),
            None => {
                all.insert(subject.into(), None);
                (Some(message), None)
            }
        }
    }

    /// The one that waits.
    pub(super) fn waiting(&self, subject: &str) -> Option<M> {
        self.lock().get(subject).cloned().flatten()
    }

    /// The one before is handled: the one that waits, if any, is next.
    pub(super) fn next(&self, subject: &str) -> Option<M> {
        let mut all = self.lock();
        let next = all.get_mut(subject).and_then(Option::take);
        if next.is_none() {
            all.remove(subject);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<M>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_waits_and_only_the_newest_is_kept() {
        let singleflight = Singleflight::default();
        assert_eq!(singleflight.begin("a", 1), (Some(1), None));
        assert_eq!(singleflight.begin("b", 2), (Some(2), None));
        assert_eq!(singleflight.begin("a", 3), (None, None));
        assert_eq!(singleflight.begin("a", 4), (None, Some(3)));
        assert_eq!(singleflight.waiting("a"), Some(4));
        assert_eq!(singleflight.next("a"), Some(4));
        assert_eq!(singleflight.begin("a", 5), (None, None));
        assert_eq!(singleflight.next("a"), Some(5));
        assert_eq!(singleflight.next("a"), None);
        assert_eq!(singleflight.begin("a", 6), (Some(6), None));
    }
}
