//! The way of a message to the controller of its object's kind.

use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use sequencer_api::{Component, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::{Delivery, Outcome};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Names an object of the kind `K`, of which only its metadata is kept.
pub type Reference<K> = ObjectRef<PartialObjectMeta<K>>;

/// Sends objects that messages name to their controllers.
#[derive(Debug)]
pub(crate) struct Triggers {
    components: UnboundedSender<Reference<Component>>,
    workspaces: UnboundedSender<Reference<Workspace>>,
}

/// The controllers' ends of what messages trigger.
#[derive(Debug)]
pub struct Receivers {
    pub(crate) components: UnboundedReceiver<Reference<Component>>,
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

    /// Has the object of a message reconciled. The outcome is `NotRecorded` while the process ends:
    /// then another process gets the message.
    pub(crate) fn message(&self, delivery: &Delivery) -> Outcome {
        let (name, namespace) = (&delivery.payload.name, &delivery.payload.namespace);
        let sent = match delivery.command.verb() {
            Verb::Deploy => {
                let component = ObjectRef::new(name).within(namespace);
                self.components.send(component).is_ok()
            }
            Verb::Ingress => {
                let workspace = ObjectRef::new(name).within(namespace);
                self.workspaces.send(workspace).is_ok()
            }
            _ => return Outcome::Stale,
        };

        if sent {
            Outcome::Done
        } else {
            Outcome::NotRecorded
        }
    }
}
