//! Notifies handlers of objects that they have work on: often enough that nothing waits, and no
//! more. What was published is remembered in memory alone: after a restart everything unfinished is
//! published once more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_api::status::Section;
use sequencer_proto::topics::{Command, Pool, Verb};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::{Bus, PublishError};
use sequencer_runtime::retry::later;
use sequencer_runtime::section::{Due, Wanted, due};
use sequencer_runtime::telemetry::join_workspace;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::plan::{Notification, Plan, Policy, Subject, Target};

/// Returns when the handler of a section has work. `finished` says whether the section records what is
/// wanted.
#[must_use]
pub fn due_of(section: &Section, finished: bool, generation: i64, now: Timestamp) -> Due {
    let wanted = Wanted {
        generation,
        finished,
        // That a person asks shows in the message itself.
        asked: false,
    };
    due(section, wanted, None, now)
}

/// Plans to notify the handler of a section. `more` is what it depends on besides the object itself.
pub fn notify(
    plan: &mut Plan,
    subject: &Subject,
    verb: Verb,
    pool: Option<Pool>,
    section: &Section,
    settled: bool,
    more: &str,
) {
    let policy = match due_of(section, settled, subject.generation, subject.now) {
        Due::Never => return,
        Due::Now => Policy::Now,
        Due::At(at) => {
            plan.again_at(at);
            Policy::Held
        }
        Due::IfSecretChanged(at) => {
            plan.again_at(at);
            Policy::Secret
        }
    };

    // A wait that is over is another state of the object.
    let key = format!("{}/{}/{policy:?}/{more}", subject.generation, section.rev);
    plan.notifications
        .push(notification(subject, verb, pool, key, policy));
}

/// Returns a notification about an object.
#[must_use]
pub fn notification(
    subject: &Subject,
    verb: Verb,
    pool: Option<Pool>,
    key: String,
    policy: Policy,
) -> Notification {
    Notification {
        verb,
        pool,
        workspace: subject.owner,
        target: subject.target.clone(),
        key,
        retry: subject.retry.clone(),
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
    key: String,
    retry: String,
    at: Timestamp,
}

/// What to do about a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    /// Publish it, and why.
    send: Option<Trigger>,
    /// When to decide again.
    next: Option<Timestamp>,
}

/// By what was woken before.
fn decide(
    before: Option<&Sent>,
    notification: &Notification,
    periods: Periods,
    now: Timestamp,
) -> Decision {
    let every = match notification.policy {
        Policy::Now => Some(periods.resync),
        Policy::Poll(every) => Some(every),
        Policy::Secret => Some(periods.secret),
        Policy::Held | Policy::Once => None,
    };

    let same = before.filter(|before| before.key == notification.key);
    let every = every.map(|every| spread(every, notification.target.uuid()));
    let over = |since: Timestamp| every.is_some_and(|every| later(since, every) <= now);
    let send = match (before, same, notification.policy) {
        (Some(before), ..) if before.retry != notification.retry => Some(Trigger::Retry),
        (_, None, Policy::Now | Policy::Once | Policy::Poll(_)) => Some(Trigger::Change),
        (_, None, Policy::Secret | Policy::Held) => None,
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

/// Publishes commands for handlers.
#[derive(Debug)]
pub struct Notifier {
    bus: Bus,
    periods: Periods,
    sent: Mutex<HashMap<(Verb, Uuid), Sent>>,
}

impl Notifier {
    /// Nothing was published yet.
    #[must_use]
    pub fn new(bus: Bus, periods: Periods) -> Self {
        Self {
            bus,
            periods,
            sent: Mutex::default(),
        }
    }

    /// Everything may be lost: what is unfinished is published again when it is reconciled.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    /// The object is gone.
    pub fn forget(&self, uid: Uuid) {
        self.lock().retain(|(_, other), _| *other != uid);
    }

    /// Publishes it, if it is time, and returns when to decide again.
    pub async fn send(&self, notification: &Notification, now: Timestamp) -> Option<Timestamp> {
        let id = (notification.verb, notification.target.uuid());
        let decision = decide(self.lock().get(&id), notification, self.periods, now);
        if let Some(trigger) = decision.send
            && let Err(error) = self.publish(notification, trigger).await
        {
            let error = error.to_string();
            warn!(
                verb = notification.verb.word(),
                name = notification.target.name,
                error,
                "Failed to publish a command"
            );
            self.lock().remove(&id);
            return Some(later(now, RETRY));
        }

        let mut sent = self.lock();
        let changed = sent
            .get(&id)
            .is_none_or(|memo| memo.key != notification.key || memo.retry != notification.retry);
        if changed || decision.send.is_some() {
            sent.insert(
                id,
                Sent {
                    key: notification.key.clone(),
                    retry: notification.retry.clone(),
                    at: now,
                },
            );
        }

        decision.next
    }

    async fn publish(
        &self,
        notification: &Notification,
        trigger: Trigger,
    ) -> Result<(), PublishError> {
        let command = Command::new(
            notification.verb,
            notification.pool.clone(),
            notification.workspace,
            notification.target.uuid(),
        );
        let Ok(command) = command else { return Ok(()) };
        let Target {
            kind,
            namespace,
            name,
            ..
        } = &notification.target;
        let span = info_span!(
            "wake",
            verb = notification.verb.word(),
            kind = kind.word(),
            namespace,
            name
        );
        join_workspace(&span, notification.workspace);
        self.bus
            .wake(&command, namespace, name, trigger)
            .instrument(span)
            .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Verb, Uuid), Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait when NATS took nothing.
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use sequencer_proto::topics::Kind;

    use super::*;

    const PERIODS: Periods = Periods {
        resync: Duration::from_secs(60),
        secret: Duration::from_secs(30),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn notification_of(key: &str, policy: Policy) -> Notification {
        let subject = Subject {
            target: Target {
                kind: Kind::Build,
                namespace: "n".into(),
                name: "b".into(),
                uid: Uuid::nil().into(),
            },
            owner: Uuid::nil(),
            generation: 1,
            created: None,
            retry: String::new(),
            now: at(0),
        };
        notification(&subject, Verb::Push, None, key.into(), policy)
    }

    fn memo(key: &str, second: i64) -> Sent {
        Sent {
            key: key.into(),
            retry: String::new(),
            at: at(second),
        }
    }

    fn sent(before: Option<&Sent>, notification: &Notification, now: i64) -> bool {
        decide(before, notification, PERIODS, at(now))
            .send
            .is_some()
    }

    #[test]
    fn what_is_unfinished_is_woken_at_once_with_each_change_and_with_each_resync() {
        let notification = notification_of("a", Policy::Now);
        assert!(sent(None, &notification, 0));
        assert!(
            !sent(Some(&memo("a", 0)), &notification, 59)
                && sent(Some(&memo("a", 0)), &notification, 60)
        );
        assert!(sent(Some(&memo("b", 0)), &notification, 1));
        assert_eq!(
            decide(Some(&memo("a", 5)), &notification, PERIODS, at(6)).next,
            Some(at(65))
        );
    }

    #[test]
    fn a_secret_is_looked_at_every_half_minute_and_not_at_once() {
        let notification = notification_of("a", Policy::Secret);
        assert!(!sent(None, &notification, 0) && !sent(Some(&memo("b", 0)), &notification, 100));
        assert!(
            !sent(Some(&memo("a", 0)), &notification, 29)
                && sent(Some(&memo("a", 0)), &notification, 30)
        );

        assert_eq!(
            decide(None, &notification, PERIODS, at(7)).next,
            Some(at(37))
        );
    }

    #[test]
    fn what_is_settled_is_woken_once_for_each_state() {
        let notification = notification_of("a", Policy::Once);
        assert!(sent(None, &notification, 0) && sent(Some(&memo("b", 0)), &notification, 0));
        assert!(!sent(Some(&memo("a", 0)), &notification, 100_000));
    }

    #[test]
    fn what_is_held_is_woken_only_when_a_user_says_so() {
        let mut notification = notification_of("a", Policy::Held);
        assert!(!sent(None, &notification, 0) && !sent(Some(&memo("a", 0)), &notification, 1000));
        notification.retry = "again".into();
        assert!(sent(Some(&memo("a", 0)), &notification, 1));
        assert!(!sent(None, &notification, 1));
        assert_eq!(decide(None, &notification, PERIODS, at(0)).next, None);
    }
}
