//! One message, or one thing that was seen in the cluster: both lead to the same step.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::hosts::{Hosts, ProvidersError};
use sequencer_runtime::retry::Waits;
use sequencer_runtime::section::RecordError;
use sequencer_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;
use tracing::warn;

use crate::args::{Args, Settings};
use crate::error::Error;
use crate::queue::{Key, Locks, Queue};
use crate::record::Memory;

/// How often a step is begun anew because somebody else wrote meanwhile.
const TRIES: usize = 5;

/// How many objects that were seen to change are looked at once.
const LOOKS: usize = 8;

/// The wait after a look that could not be finished.
const AGAIN: Duration = Duration::from_secs(5);

/// The deployer.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    client: Client,
    hosts: Hosts,
    settings: Settings,
    waits: Waits,
    queue: Queue,
    steps: Locks,
    shared: Locks,
    memory: Memory,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// How a step ended if it did not fail.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// When the object has to be looked at again although nothing changes.
    pub(crate) again: Option<Duration>,
}

impl Done {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            again: None,
        }
    }
}

impl Service {
    /// A deployer with this client.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(client: Client, args: &Args) -> Result<Self, ProvidersError> {
        Ok(Self(Arc::new(Inner {
            hosts: Hosts::new(client.clone(), &args.hosts)?,
            client,
            settings: args.settings.clone(),
            waits: Waits::from(&args.shared.periods),
            queue: Queue::default(),
            steps: Locks::default(),
            shared: Locks::default(),
            memory: Memory::default(),
        })))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.0.hosts
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// What the Components of a Workspace share is made by one of them at a time.
    pub(crate) fn shared(&self) -> &Locks {
        &self.0.shared
    }

    /// Handles a message.
    pub async fn handle(self, delivery: Delivery) -> Outcome {
        let wake = delivery.wake;
        let key = Key {
            verb: delivery.command.verb(),
            namespace: wake.namespace,
            name: wake.name,
        };
        self.step(&key, Some(&delivery.command.uid().to_string()))
            .await
    }

    /// Looks at what was seen to change, until the process ends.
    pub async fn look(self, shutdown: Shutdown) {
        let mut looks = JoinSet::new();
        loop {
            let key = tokio::select! {
                key = self.queue().next(), if looks.len() < LOOKS => key,
                Some(_) = looks.join_next() => continue,
                () = shutdown.stopping() => break,
            };
            let service = self.clone();
            looks.spawn(async move {
                if service.step(&key, None).await == Outcome::NotRecorded {
                    service.queue().add(key, AGAIN);
                }
            });
        }
        while looks.join_next().await.is_some() {}
    }

    async fn step(&self, key: &Key, uid: Option<&str>) -> Outcome {
        let _alone = self
            .0
            .steps
            .lock(&format!("{}/{}", key.namespace, key.name))
            .await;
        for _ in 0..TRIES {
            let done = match key.verb {
                Verb::Deploy => Box::pin(self.deploy(key, uid)).await,
                Verb::Ingress => Box::pin(self.ingress(key, uid)).await,
                _ => Ok(Done::new(Outcome::Stale)),
            };
            match done {
                Ok(done) => {
                    if let Some(again) = done.again {
                        self.queue().add(key.clone(), again);
                    }
                    return done.outcome;
                }
                Err(Error::Record(RecordError::Conflict)) => {}
                Err(Error::Record(RecordError::Gone)) => return Outcome::Gone,
                Err(Error::Namespace) => return Outcome::Stale,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, namespace = key.namespace, name = key.name, "a step could not be finished");
                    return Outcome::NotRecorded;
                }
            }
        }
        Outcome::NotRecorded
    }
}
