//! What every reconcile of the deployer needs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::core::{NamespaceResourceScope, Resource};
use kube::{Api, Client};
use rand::Rng as _;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::hosts::{Hosts, ProvidersError};
use sequencer_runtime::retry::Waits;
use sequencer_runtime::status_writer::{PROGRESS, StatusWriter};
use tokio::sync::Mutex;

use crate::args::{Args, Settings};
use crate::settled::Settled;
use crate::throttle::Throttle;
use crate::triggers::{Receivers, Triggers};

/// The deployer. Clones share everything.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    client: Client,
    hosts: Hosts,
    settings: Settings,
    resync: Duration,
    waits: Waits,
    triggers: Triggers,
    statuses: StatusWriter<String>,
    shared: Mutex<()>,
    throttle: Throttle,
    settled: Settled,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A deployer with this client, and what its messages trigger.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(client: Client, args: &Args) -> Result<(Self, Receivers), ProvidersError> {
        let (triggers, receivers) = Triggers::new();
        let service = Self(Arc::new(Inner {
            hosts: Hosts::new(client.clone(), &args.hosts)?,
            client,
            settings: args.settings.clone(),
            resync: args.resync,
            waits: Waits::from(&args.shared.periods),
            triggers,
            statuses: StatusWriter::new(PROGRESS),
            shared: Mutex::default(),
            throttle: Throttle::default(),
            settled: Settled::default(),
        }));
        Ok((service, receivers))
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

    /// The wait before Secrets that were made are looked at again. What was deployed together does not
    /// come back together.
    pub(crate) fn resync(&self) -> Duration {
        let longest = self.0.resync;
        rand::rng().random_range(longest / 2..=longest)
    }

    pub(crate) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    /// By the uid of the Component or Workspace.
    pub(crate) fn statuses(&self) -> &StatusWriter<String> {
        &self.0.statuses
    }

    /// Held while something is created that the Components of a Workspace share: they start together,
    /// and each would create it.
    pub(crate) fn shared(&self) -> &Mutex<()> {
        &self.0.shared
    }

    /// The roll-outs of what no user changed.
    pub(crate) fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }

    /// The Components whose surroundings need no second look.
    pub(crate) fn settled(&self) -> &Settled {
        &self.0.settled
    }

    /// Objects of the namespaces that are watched.
    pub(crate) fn watched<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.settings().watch_namespace {
            Some(namespace) => Api::namespaced(self.client().clone(), namespace),
            None => Api::all(self.client().clone()),
        }
    }

    /// Has the object of a message reconciled. Nothing is lost if the process ends before it is:
    /// another one reconciles everything when it begins.
    pub async fn handle(self, delivery: Delivery) -> Outcome {
        self.0.triggers.message(&delivery)
    }
}
