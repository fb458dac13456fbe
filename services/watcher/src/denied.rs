//! Writes that the API server did not take. What wanted them says so, and they are tried again after
//! longer and longer waits, whatever else has it reconciled meanwhile. Only in memory: whoever leads
//! next is refused once more.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_api::condition::Summary;
use sequencer_proto::topics::Kind;
use sequencer_runtime::cluster::denial::Denial;
use sequencer_runtime::retry::{Retry, Waits, chance, later};
use uuid::Uuid;

use crate::conditions::{failing, patience_ends};
use crate::plan::{Action, Event, Subject};

/// How long one waits before it is tried again. Nobody tells when a quota or a policy changes.
const WAITS: Waits = Waits {
    first: Duration::from_secs(5),
    longest: Duration::from_mins(5),
};

/// What is written for an object.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    Action(&'a Action),
    /// Its own status, whatever that says.
    Status,
}

/// A write that the API server did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The kind of what was written.
    kind: Kind,
    denial: Denial,
    /// What was written, and what people had asked for until then, as a hash.
    tried: u64,
    attempts: u32,
    /// Since when it is refused with this code.
    since: Timestamp,
    next: Timestamp,
}

impl Denied {
    /// For this object, once more if it was refused before.
    #[must_use]
    pub fn new(subject: &Subject, write: Write<'_>, denial: Denial, before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.denial.code == denial.code);
        let attempts = before.map_or(1, |before| before.attempts.saturating_add(1));
        let chance = chance(subject.target.uuid(), attempts);
        let wait = WAITS.delay(Retry::Backoff, attempts, chance);

        Self {
            kind: match write {
                Write::Action(action) => action.kind(),
                Write::Status => subject.target.kind,
            },
            denial,
            tried: hash(subject, write),
            attempts,
            since: before.map_or(subject.now, |before| before.since),
            next: later(subject.now, wait.unwrap_or(WAITS.longest)),
        }
    }

    /// Whether it is too early to write the same again.
    #[must_use]
    pub fn holds_back(&self, subject: &Subject, write: Write<'_>) -> bool {
        self.next > subject.now && self.tried == hash(subject, write)
    }

    /// Whether what was written is of this kind.
    #[must_use]
    pub fn is_of(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// Whether it is the object of this kind and name that was written.
    #[must_use]
    pub fn is(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind && self.denial.name == name
    }

    /// Whether nobody was told yet.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.attempts == 1
    }

    /// What people read in logs.
    #[must_use]
    pub fn message(&self) -> String {
        self.denial.to_string()
    }

    /// What people read of it in a condition.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> Summary {
        failing(self.denial.code, &self.message(), Some(self.since), now)
    }

    /// What people read of it where no condition says it.
    #[must_use]
    pub fn event(&self, subject: &Subject) -> Event {
        let text = self.summary(subject.now).text();
        Event::wrong(&subject.target, self.denial.code, text)
    }

    /// When it is tried again, or the status says that a person is needed.
    #[must_use]
    pub fn again_at(&self, now: Timestamp) -> Timestamp {
        let told = patience_ends(self.since).filter(|at| *at > now);
        told.map_or(self.next, |at| at.min(self.next))
    }
}

fn hash(subject: &Subject, write: Write<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.retry.asked.hash(&mut hasher);
    format!("{write:?}").hash(&mut hasher);
    hasher.finish()
}

/// What is refused now, by the uid of what wanted it.
#[derive(Debug, Default)]
pub struct Denials {
    actions: Mutex<HashMap<Uuid, Vec<Denied>>>,
    statuses: Mutex<HashMap<Uuid, Denied>>,
}

impl Denials {
    /// What is refused of an object's plan.
    #[must_use]
    pub fn of(&self, uid: Uuid) -> Vec<Denied> {
        lock(&self.actions).get(&uid).cloned().unwrap_or_default()
    }

    /// Sets what is refused of an object's plan.
    pub fn set(&self, uid: Uuid, denied: Vec<Denied>) {
        let mut actions = lock(&self.actions);
        if denied.is_empty() {
            actions.remove(&uid);
        } else {
            actions.insert(uid, denied);
        }
    }

    /// Whether an object's own status is refused.
    #[must_use]
    pub fn of_status(&self, uid: Uuid) -> Option<Denied> {
        lock(&self.statuses).get(&uid).cloned()
    }

    /// An object's own status is refused.
    pub fn set_status(&self, uid: Uuid, denied: Denied) {
        lock(&self.statuses).insert(uid, denied);
    }

    /// An object's own status was written.
    pub fn clear_status(&self, uid: Uuid) {
        lock(&self.statuses).remove(&uid);
    }

    /// An object is gone.
    pub fn forget(&self, uid: Uuid) {
        lock(&self.actions).remove(&uid);
        self.clear_status(uid);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
