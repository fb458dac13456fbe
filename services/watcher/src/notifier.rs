//! Notifies handlers of objects that they have work on: often enough that nothing waits, and no
//! more. What was published is remembered in memory alone: after a restart everything unfinished is
//! published once more.

mod outbox;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_api::status::Section;
use sequencer_proto::topics::{Command, Pool, Verb};
use sequencer_proto::v1::{CommandPayload, Trigger};
use sequencer_runtime::bus::Bus;
use sequencer_runtime::retry::later;
use sequencer_runtime::section::{Due, Wanted, due};
use uuid::Uuid;

use outbox::{Outbox, Outgoing};

use crate::plan::{Cause, Inputs, Notification, Plan, Policy, Subject};
use crate::retry::Retry;

/// Returns when the handler of a section has work. `finished` says whether the section records what is
/// wanted.
#[must_use]
pub fn due_of(section: &Section, finished: bool, subject: &Subject) -> Due {
    let wanted = Wanted {
        generation: subject.generation,
        finished,
        asked: subject.retry.is_new_to(section),
    };
    due(section, wanted, None, subject.now)
}

/// Plans to notify the handler of a section.
pub fn notify(
    plan: &mut Plan,
    subject: &Subject,
    verb: Verb,
    pool: Option<Pool>,
    section: &Section,
    settled: bool,
    cause: Cause,
) {
    let asked = cause == Cause::Unreachable || subject.retry.is_new_to(section);
    let settled = settled && !(asked && is_outside(verb));
    let due = due_of(section, settled, subject);
    let Some(policy) = policy(plan, due, Policy::Now) else {
        return;
    };

    let inputs = Inputs::of(subject, Some(section.rev), cause);
    plan.notifications.push(Notification {
        asked,
        ..notification(subject, verb, pool, inputs, policy)
    });
}

/// Whether what a verb makes can change outside without a word, so that a person who asks has it
/// looked at although nothing seems wrong.
fn is_outside(verb: Verb) -> bool {
    matches!(verb, Verb::Tunnel | Verb::Dns | Verb::Probe)
}

/// Returns how often a handler is notified of work that is due then, or None if it has none.
/// `unfinished` is how often it is if it has some now.
pub fn policy(plan: &mut Plan, due: Due, unfinished: Policy) -> Option<Policy> {
    match due {
        Due::Never => None,
        Due::Now => Some(unfinished),
        Due::At(at) => {
            plan.again_at(at);
            Some(Policy::Held)
        }
        Due::IfSecretChanged(at) => {
            if let Some(at) = at {
                plan.again_at(at);
            }
            Some(Policy::Secret)
        }
    }
}

/// Returns a notification about an object.
#[must_use]
pub fn notification(
    subject: &Subject,
    verb: Verb,
    pool: Option<Pool>,
    inputs: Inputs,
    policy: Policy,
) -> Notification {
    Notification {
        verb,
        pool,
        workspace: subject.owner,
        target: subject.target.clone(),
        inputs,
        retry: subject.retry.clone(),
        asked: false,
        policy,
    }
}

/// How often handlers are notified of what does not change.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// Of what is unfinished.
    pub resync: Duration,
    /// Of what may be waiting for a Secret.
    pub secret: Duration,
}

/// What was published, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    inputs: Inputs,
    /// A wait that is over is another state of the object.
    policy: Policy,
    retry: Retry,
    at: Timestamp,
}

impl Sent {
    fn new(notification: &Notification, at: Timestamp) -> Self {
        Self {
            inputs: notification.inputs.clone(),
            policy: notification.policy,
            retry: notification.retry.clone(),
            at,
        }
    }

    /// Whether it was published for the same state of the object.
    fn is_of(&self, notification: &Notification) -> bool {
        self.inputs == notification.inputs && self.policy == notification.policy
    }
}

/// What to do about a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    /// Publish it, and why.
    send: Option<Trigger>,
    /// When to decide again.
    next: Option<Timestamp>,
}

/// By what was published before.
fn decide(
    before: Option<&Sent>,
    notification: &Notification,
    periods: Periods,
    now: Timestamp,
) -> Decision {
    let every = match notification.policy {
        Policy::Now | Policy::Watched => Some(periods.resync),
        Policy::Poll(every) => Some(every),
        Policy::Secret => Some(periods.secret),
        Policy::Held => None,
    };

    let same = before.filter(|before| before.is_of(notification));
    let every = every.map(|every| spread(every, notification.target.uuid()));
    let over = |since: Timestamp| every.is_some_and(|every| later(since, every) <= now);
    let send = match (before, same, notification.policy) {
        (Some(before), ..) if before.retry != notification.retry => Some(Trigger::Retry),
        (_, None, Policy::Now | Policy::Poll(_)) if notification.asked => Some(Trigger::Retry),
        (_, None, Policy::Now | Policy::Poll(_)) => Some(Trigger::Change),
        (_, None, Policy::Watched | Policy::Secret | Policy::Held) => None,
        (_, Some(same), _) if notification.asked => over(same.at).then_some(Trigger::Retry),
        (_, Some(same), _) => over(same.at).then_some(Trigger::Resync),
    };

    let since = if send.is_some() {
        now
    } else {
        same.map_or(now, |same| same.at)
    };

    Decision {
        send,
        next: every.map(|every| later(since, every)),
    }
}

/// A period up to a tenth longer, by the object: what began together does not stay together.
fn spread(every: Duration, uid: Uuid) -> Duration {
    let [.., part] = *uid.as_bytes();
    every + every / 10 * u32::from(part) / u32::from(u8::MAX)
}

/// Decides which commands are published for handlers, and publishes them.
#[derive(Debug)]
pub struct Notifier {
    periods: Periods,
    sent: Mutex<HashMap<(Verb, Uuid), Sent>>,
    outbox: Outbox,
}

impl Notifier {
    /// Nothing was published yet.
    #[must_use]
    pub fn new(periods: Periods) -> Self {
        Self {
            periods,
            sent: Mutex::default(),
            outbox: Outbox::default(),
        }
    }

    /// Publishes what is to be, for ever.
    pub async fn run(&self, bus: &Bus) {
        self.outbox.run(bus).await;
    }

    /// Everything may be lost: what is unfinished is published again when it is reconciled.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    /// The object is gone.
    pub fn forget(&self, uid: Uuid) {
        self.lock().retain(|(_, other), _| *other != uid);
        self.outbox.forget(uid);
    }

    /// Has it published, if it is time, and returns when to decide again.
    pub fn send(&self, notification: &Notification, now: Timestamp) -> Option<Timestamp> {
        let id = (notification.verb, notification.target.uuid());
        let mut sent = self.lock();
        let decision = decide(sent.get(&id), notification, self.periods, now);
        if let Some(trigger) = decision.send {
            let outgoing = outgoing(notification, trigger);
            outgoing
                .into_iter()
                .for_each(|outgoing| self.outbox.add(outgoing));
        }

        let changed = sent
            .get(&id)
            .is_none_or(|sent| !sent.is_of(notification) || sent.retry != notification.retry);
        if changed || decision.send.is_some() {
            sent.insert(id, Sent::new(notification, now));
        }

        decision.next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Verb, Uuid), Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command of a notification; None if its verb has no such one.
fn outgoing(notification: &Notification, trigger: Trigger) -> Option<Outgoing> {
    let target = notification.target.clone();
    let (verb, pool) = (notification.verb, notification.pool.clone());
    let command = Command::new(verb, pool, notification.workspace, target.uuid()).ok()?;
    let payload = CommandPayload {
        asked: notification.retry.asked.clone().unwrap_or_default(),
        ..command.payload(&target.namespace, &target.name, trigger)
    };

    Some(Outgoing {
        command,
        payload,
        target,
    })
}

#[cfg(test)]
mod tests;
