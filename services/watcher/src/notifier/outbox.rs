//! Commands on their way to NATS. Whoever decides never waits for it: while it is away, the newest
//! command of each kind for each object is kept, and published when it is back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use sequencer_proto::topics::{Command, Verb};
use sequencer_proto::v1::CommandPayload;
use sequencer_runtime::bus::{Bus, PublishError};
use sequencer_runtime::error::chain;
use sequencer_runtime::telemetry::join_workspace;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::plan::Target;

/// How many are published at once: NATS answers each.
const AT_ONCE: usize = 16;

/// How long to wait when NATS took nothing.
const RETRY: Duration = Duration::from_secs(2);

/// What is to be published.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outgoing {
    pub(super) command: Command,
    pub(super) payload: CommandPayload,
    pub(super) target: Target,
}

/// What is to be published, by verb and object.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<HashMap<(Verb, Uuid), Outgoing>>,
    added: Notify,
}

impl Outbox {
    /// Has it published, in place of what waits of its kind for its object.
    pub(super) fn add(&self, outgoing: Outgoing) {
        self.lock().insert(id(&outgoing), outgoing);
        self.added.notify_one();
    }

    /// Nobody has to know of an object any more.
    pub(super) fn forget(&self, uid: Uuid) {
        self.lock().retain(|(_, other), _| *other != uid);
    }

    /// Publishes what is added, for ever.
    pub(super) async fn run(&self, bus: &Bus) {
        loop {
            let batch = std::mem::take(&mut *self.lock());
            if batch.is_empty() {
                self.added.notified().await;
                continue;
            }

            let is_away = AtomicBool::new(false);
            let is_away = &is_away;
            let publish = |outgoing| self.publish(bus, outgoing, is_away);
            let published = stream::iter(batch.into_values());
            published.for_each_concurrent(AT_ONCE, publish).await;

            if is_away.load(Ordering::Relaxed) {
                sleep(RETRY).await;
            }
        }
    }

    async fn publish(&self, bus: &Bus, outgoing: Outgoing, is_away: &AtomicBool) {
        if is_away.load(Ordering::Relaxed) {
            return self.put_back(outgoing);
        }

        if let Err(error) = publish(bus, &outgoing).await {
            if !is_away.swap(true, Ordering::Relaxed) {
                let (verb, name) = (outgoing.command.verb().word(), &outgoing.target.name);
                warn!(
                    verb,
                    name,
                    error = chain(&error),
                    "Failed to publish command"
                );
            }
            self.put_back(outgoing);
        }
    }

    /// Keeps it for the next time, unless a newer one was added.
    fn put_back(&self, outgoing: Outgoing) {
        self.lock().entry(id(&outgoing)).or_insert(outgoing);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Verb, Uuid), Outgoing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(outgoing: &Outgoing) -> (Verb, Uuid) {
    (outgoing.command.verb(), outgoing.target.uuid())
}

async fn publish(bus: &Bus, outgoing: &Outgoing) -> Result<(), PublishError> {
    let Outgoing {
        command,
        payload,
        target,
    } = outgoing;
    let span = info_span!(
        "publish",
        verb = command.verb().word(),
        kind = target.kind.word(),
        namespace = target.namespace,
        name = target.name
    );
    join_workspace(&span, command.workspace());

    let published = bus.publish_payload(command, payload);
    published.instrument(span).await
}

#[cfg(test)]
mod tests {
    use sequencer_proto::topics::Kind;
    use sequencer_proto::v1::Trigger;

    use super::*;

    /// A command about an object, which asks for this.
    fn outgoing(uid: u128, asked: &str) -> Outgoing {
        let uid = Uuid::from_u128(uid);
        let command = Command::new(Verb::Deploy, None, Uuid::nil(), uid).unwrap();
        let payload = CommandPayload {
            asked: asked.into(),
            ..command.payload("n", "a", Trigger::Change)
        };
        let target = Target {
            kind: Kind::Component,
            namespace: "n".into(),
            name: "a".into(),
            uid: uid.to_string(),
        };
        Outgoing {
            command,
            payload,
            target,
        }
    }

    /// What each command that waits asks for.
    fn waiting(outbox: &Outbox) -> Vec<String> {
        let waiting = outbox.lock();
        let mut asked: Vec<_> = waiting
            .values()
            .map(|each| each.payload.asked.clone())
            .collect();
        asked.sort();
        asked
    }

    #[test]
    fn the_newest_command_of_a_kind_for_an_object_waits_and_no_other() {
        let outbox = Outbox::default();
        for (uid, asked) in [(1, "a"), (2, "b"), (1, "c")] {
            outbox.add(outgoing(uid, asked));
        }
        assert_eq!(waiting(&outbox), ["b", "c"]);

        // What was not taken comes again, and never in place of a newer one.
        outbox.put_back(outgoing(1, "a"));
        outbox.put_back(outgoing(3, "d"));
        assert_eq!(waiting(&outbox), ["b", "c", "d"]);

        outbox.forget(Uuid::from_u128(1));
        assert_eq!(waiting(&outbox), ["b", "d"]);
    }
}
