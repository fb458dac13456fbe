//! Which Components and Workspaces are looked at next, and when. An object stands in it once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sequencer_proto::topics::Verb;
use tokio::sync::{MutexGuard, Notify};
use tokio::time::{Instant, sleep_until};

/// An object, and what it is looked at for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) verb: Verb,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What is looked at next.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<HashMap<Key, Instant>>,
    changed: Notify,
}

impl Queue {
    /// Looks at an object after a while, or sooner if it stands in the queue already.
    pub(crate) fn add(&self, key: Key, after: Duration) {
        let at = Instant::now() + after;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let due = waiting.entry(key).or_insert(at);
        *due = at.min(*due);
        drop(waiting);
        self.changed.notify_one();
    }

    /// The next object that is due.
    pub(crate) async fn next(&self) -> Key {
        loop {
            let changed = self.changed.notified();
            match self.first() {
                Ok(key) => return key,
                Err(None) => changed.await,
                Err(Some(at)) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// Takes what is due, or says when something will be.
    fn first(&self) -> Result<Key, Option<Instant>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting
            .iter()
            .min_by_key(|(_, at)| **at)
            .map(|(key, at)| (key.clone(), *at));
        match first {
            Some((key, at)) if at <= Instant::now() => {
                waiting.remove(&key);
                Ok(key)
            }
            first => Err(first.map(|(_, at)| at)),
        }
    }
}

/// How many locks there are for all objects.
const LOCKS: usize = 64;

/// One at a time for each object, and for what Components of a Workspace share. Few locks stand for
/// many objects: two objects of one lock only wait for each other.
#[derive(Debug)]
pub(crate) struct Locks(Vec<tokio::sync::Mutex<()>>);

impl Default for Locks {
    fn default() -> Self {
        Self(
            (0..LOCKS)
                .map(|_index| tokio::sync::Mutex::new(()))
                .collect(),
        )
    }
}

impl Locks {
    pub(crate) async fn lock(&self, object: &str) -> Option<MutexGuard<'_, ()>> {
        let sum = object.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        Some(self.0.get(sum % LOCKS)?.lock().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            verb: Verb::Deploy,
            namespace: "n".into(),
            name: name.into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_comes_once_and_at_its_earliest() {
        let queue = Queue::default();
        let begun = Instant::now();
        queue.add(key("late"), Duration::from_secs(5));
        queue.add(key("twice"), Duration::from_secs(3));
        queue.add(key("twice"), Duration::from_secs(1));
        queue.add(key("twice"), Duration::from_secs(9));
        assert_eq!(
            (queue.next().await, begun.elapsed().as_secs()),
            (key("twice"), 1)
        );
        assert_eq!(
            (queue.next().await, begun.elapsed().as_secs()),
            (key("late"), 5)
        );
        queue.add(key("again"), Duration::ZERO);
        assert_eq!(queue.next().await, key("again"));
    }
}
