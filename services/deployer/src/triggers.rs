//! What messages have reconciled.

use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use sequencer_api::{Component, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Names an object of the kind `K`, of which only its metadata is kept.
pub type Reference<K> = ObjectRef<PartialObjectMeta<K>>;

/// To the two controllers.
#[derive(Debug)]
pub(crate) struct Triggers {
    components: UnboundedSender<Reference<Component>>,
    workspaces: UnboundedSender<Reference<Workspace>>,
}

/// The controllers' ends of what messages trigger.
#[derive(Debug)]
pub struct Receivers {
    /// Components to reconcile.
    pub(crate) components: UnboundedReceiver<Reference<Component>>,
    /// Workspaces to reconcile.
    pub(crate) workspaces: UnboundedReceiver<Reference<Workspace>>,
}

impl Triggers {
    /// Both ends. A controller keeps each object once, so no more waits here than there are objects.
    pub(crate) fn new() -> (Self, Receivers) {
        let (components, components_end) = unbounded_channel();
        let (workspaces, workspaces_end) = unbounded_channel();
        let triggers = Self {
            components,
            workspaces,
        };
        let receivers = Receivers {
            components: components_end,
            workspaces: workspaces_end,
        };
        (triggers, receivers)
    }

    /// Has the object of a message reconciled.
    pub(crate) fn message(&self, delivery: &Delivery) {
        let (name, namespace) = (&delivery.wake.name, &delivery.wake.namespace);

        // Sending fails only while the process ends.
        match delivery.command.verb() {
            Verb::Deploy => drop(self.components.send(ObjectRef::new(name).within(namespace))),
            Verb::Ingress => drop(self.workspaces.send(ObjectRef::new(name).within(namespace))),
            // The consumer brings no others.
            _ => {}
        }
    }
}
