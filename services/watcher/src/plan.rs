//! What is to be done for an object. Deciding is pure; carrying it out is [`crate::apply`]'s and
//! [`crate::notifier`]'.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use sequencer_api::GROUP;
use sequencer_api::code::Code;
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::{Kind, Pool, Verb};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Writes of objects, in this order.
    pub actions: Vec<Action>,
    /// Who may have to be woken.
    pub notifications: Vec<Notification>,
    /// The Events to publish once the actions are done.
    pub events: Vec<Event>,
    /// When it has to be reconciled again, if nothing happens before.
    pub next: Option<Timestamp>,
}

impl Plan {
    /// Reconciles again at this moment, or sooner.
    pub fn again_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// An object in short: what its plan and its status need besides what is its kind's own.
#[derive(Clone, Debug)]
pub struct Subject {
    pub target: Target,
    /// The uid that its commands and traces carry: its Workspace's, or its own.
    pub owner: Uuid,
    pub generation: i64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What users change to try again now.
    pub retry: String,
    pub now: Timestamp,
}

impl Subject {
    /// Of an object that was read.
    pub fn of<K: Resource>(
        kind: Kind,
        object: &K,
        owner: Uuid,
        retry: String,
        now: Timestamp,
    ) -> Self {
        Self {
            target: Target::of(kind, object),
            owner,
            generation: object.generation(),
            created: object.creation_timestamp().map(|created| created.0),
            retry,
            now,
        }
    }
}

/// An object as writes need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Target {
    /// Of an object that was read.
    pub fn of<K: Resource>(kind: Kind, object: &K) -> Self {
        Self {
            kind,
            namespace: object.namespace_str().into(),
            name: object.name_any(),
            uid: object.uid_str().into(),
        }
    }

    /// The uid as a number; nil for one that is none, which the API server never makes.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        Uuid::try_parse(&self.uid).unwrap_or_default()
    }
}

/// A write of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Makes it. One of that name that carries the same mark was made before.
    Create {
        kind: Kind,
        object: Value,
    },
    /// Changes it, if it is still as it was read (RFC 6902).
    Patch {
        target: Target,
        /// The operations behind the test of its uid.
        operations: Value,
    },
    Delete(Target),
}

impl Action {
    pub fn create(kind: Kind, object: &impl Serialize) -> Self {
        Self::Create {
            kind,
            object: serde_json::to_value(object).unwrap_or_default(),
        }
    }

    pub fn add_finalizer(target: Target, object: &impl Resource, finalizer: &str) -> Self {
        let (path, value) = if object.finalizers().is_empty() {
            ("/metadata/finalizers", json!([finalizer]))
        } else {
            ("/metadata/finalizers/-", json!(finalizer))
        };
        Self::Patch {
            target,
            operations: json!([{"op": "add", "path": path, "value": value}]),
        }
    }

    /// Removes a finalizer, if it still stands where it was read and these tests (RFC 6902) hold.
    /// None if it does not stand there.
    pub fn remove_finalizer(
        target: Target,
        object: &impl Resource,
        finalizer: &str,
        tests: Vec<Value>,
    ) -> Option<Self> {
        let mut finalizers = object.finalizers().iter();
        let at = finalizers.position(|found| found == finalizer)?;
        let path = format!("/metadata/finalizers/{at}");
        let mut operations = tests;
        operations.push(json!({"op": "test", "path": path, "value": finalizer}));
        operations.push(json!({"op": "remove", "path": path}));
        Some(Self::Patch {
            target,
            operations: operations.into(),
        })
    }
}

/// A handler that may have to be woken.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    pub verb: Verb,
    /// The pool, for verbs of the builder.
    pub pool: Option<Pool>,
    /// The Workspace's uid, or the object's own.
    pub workspace: Uuid,
    pub target: Target,
    /// Everything that it depends on: another key is published again.
    pub key: String,
    /// What users change to try again now.
    pub retry: String,
    pub policy: Policy,
}

/// How often a handler is woken for the same state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Something is unfinished: at once, and again with each resync.
    Now,
    /// It is as it should be, as far as its status says: once for each state of what it depends on.
    Once,
    /// It is notified this often.
    Poll(Duration),
    /// It failed perhaps because of a Secret, which is checked now and then.
    Secret,
    /// Only when a user says so.
    Held,
}

/// The reason of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReason {
    /// A Build of a new commit was made.
    Building,
    /// The newest version serves.
    Ready,
    /// A newer commit took a Build's place.
    Superseded,
    /// The end that the ttl sets is near.
    Expiring,
    /// The object and everything of it is gone.
    Deleted,
    /// Something outside was left behind.
    Abandoned,
    Code(Code),
}

impl EventReason {
    /// The word in the Event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "Building",
            Self::Ready => "Ready",
            Self::Superseded => "Superseded",
            Self::Expiring => "Expiring",
            Self::Deleted => "Deleted",
            Self::Abandoned => "Abandoned",
            Self::Code(code) => code.reason(),
        }
    }
}

/// An Event that people read (events.k8s.io/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub target: Target,
    pub reason: EventReason,
    /// Whether something is wrong.
    pub warning: bool,
    pub message: String,
}

impl Event {
    #[must_use]
    pub fn new(target: &Target, reason: EventReason, message: impl Into<String>) -> Self {
        Self {
            target: target.clone(),
            reason,
            warning: false,
            message: message.into(),
        }
    }

    /// Something is wrong. `text` is that of the condition, which begins with the code.
    #[must_use]
    pub fn wrong(target: &Target, code: Code, text: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::new(target, EventReason::Code(code), text)
        }
    }
}

/// `group/version`, kind and plural of our kinds.
#[must_use]
pub fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Workspace => ("Workspace", "workspaces"),
        Kind::Component => ("Component", "components"),
        Kind::Build => ("Build", "builds"),
        Kind::DnsRecord => ("DNSRecord", "dnsrecords"),
    }
}

/// `se.quencer.io/v1alpha1`
#[must_use]
pub fn api_version() -> String {
    format!("{GROUP}/{}", sequencer_api::VERSION)
}
