//! What is to be done for an object. Deciding is pure; carrying it out is [`crate::apply`]'s and
//! [`crate::notifier`]'.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component, DNSRecord};
use sequencer_proto::topics::{Kind, Pool, Verb};
use sequencer_runtime::patch::{Operation, add, remove, test};
use serde_json::json;
use uuid::Uuid;

use crate::retry::Retry;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Writes without which nothing else may be written, in this order.
    pub first: Vec<Action>,
    /// Writes of objects, in this order, each whatever becomes of the others.
    pub actions: Vec<Action>,
    /// Who may have to be notified.
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
    pub retry: Retry,
    pub now: Timestamp,
}

impl Subject {
    /// Of an object that was read.
    pub fn of<K: Resource>(
        kind: Kind,
        object: &K,
        owner: Uuid,
        retry: Retry,
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

/// What puts labels back that somebody changed or took away. Others may stand beside them.
pub fn mended_labels<K: Resource>(found: &K, wanted: &BTreeMap<String, String>) -> Vec<Operation> {
    let Some(labels) = &found.meta().labels else {
        return vec![add(&["metadata", "labels"], json!(wanted))];
    };

    let differ = wanted.iter();
    differ
        .filter(|(label, value)| labels.get(*label) != Some(value))
        .map(|(label, value)| add(&["metadata", "labels", label], value.as_str()))
        .collect()
}

/// A write of an object.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes it. One of that name that carries the same mark was made before.
    Create(Creation),
    /// Changes it, if it is still the object that was read and these operations hold.
    Patch {
        target: Target,
        operations: Vec<Operation>,
    },
    Delete(Target),
}

/// An object to make.
#[derive(Clone, Debug)]
pub enum Creation {
    Component(Box<Component>),
    Build(Box<Build>),
    DnsRecord(Box<DNSRecord>),
}

impl From<&Component> for Creation {
    fn from(object: &Component) -> Self {
        Self::Component(Box::new(object.clone()))
    }
}

impl From<&Build> for Creation {
    fn from(object: &Build) -> Self {
        Self::Build(Box::new(object.clone()))
    }
}

impl From<&DNSRecord> for Creation {
    fn from(object: &DNSRecord) -> Self {
        Self::DnsRecord(Box::new(object.clone()))
    }
}

impl Action {
    /// The kind of the object that it writes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Create(Creation::Component(_)) => Kind::Component,
            Self::Create(Creation::Build(_)) => Kind::Build,
            Self::Create(Creation::DnsRecord(_)) => Kind::DnsRecord,
            Self::Patch { target, .. } | Self::Delete(target) => target.kind,
        }
    }

    /// The name of the object that it writes.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Create(Creation::Component(object)) => object.name_any(),
            Self::Create(Creation::Build(object)) => object.name_any(),
            Self::Create(Creation::DnsRecord(object)) => object.name_any(),
            Self::Patch { target, .. } | Self::Delete(target) => target.name.clone(),
        }
    }

    pub fn create<'a, K>(object: &'a K) -> Self
    where
        Creation: From<&'a K>,
    {
        Self::Create(object.into())
    }

    pub fn add_finalizer(target: Target, object: &impl Resource, finalizer: &str) -> Self {
        let operations = if object.finalizers().is_empty() {
            // Others may have begun the list since.
            vec![
                test(&["metadata", "resourceVersion"], object.resource_version()),
                add(&["metadata", "finalizers"], vec![finalizer]),
            ]
        } else {
            vec![add(&["metadata", "finalizers", "-"], finalizer)]
        };
        Self::Patch { target, operations }
    }

    /// Removes a finalizer, if it still stands where it was read and these tests hold. None if it
    /// does not stand there.
    pub fn remove_finalizer(
        target: Target,
        object: &impl Resource,
        finalizer: &str,
        tests: Vec<Operation>,
    ) -> Option<Self> {
        let mut finalizers = object.finalizers().iter();
        let at = finalizers.position(|found| found == finalizer)?.to_string();
        let path = ["metadata", "finalizers", &at];
        let mut operations = tests;
        operations.push(test(&path, finalizer));
        operations.push(remove(&path));

        Some(Self::Patch { target, operations })
    }
}

/// A handler that may have to be notified.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    pub verb: Verb,
    /// The pool, for verbs of the builder.
    pub pool: Option<Pool>,
    /// The Workspace's uid, or the object's own.
    pub workspace: Uuid,
    pub target: Target,
    pub inputs: Inputs,
    pub retry: Retry,
    /// Whether the section has not tried yet what a person asks.
    pub asked: bool,
    pub policy: Policy,
}

/// What a handler's work follows from: others are published again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    pub generation: i64,
    /// The revision of its section. None where its own results change nothing.
    pub rev: Option<i64>,
    pub cause: Cause,
}

impl Inputs {
    /// Of the object as it was read.
    #[must_use]
    pub fn of(subject: &Subject, rev: Option<i64>, cause: Cause) -> Self {
        Self {
            generation: subject.generation,
            rev,
            cause,
        }
    }
}

/// Why a handler has work, besides the object's own spec and section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing else.
    Spec,
    /// The hosts of a Workspace are not its own any more.
    Refused,
    /// It is being deleted.
    Deleting,
    /// A newer Build took its place.
    Superseded,
    /// The URL that answered before does not answer as it should.
    Unreachable,
    /// What a component may take or wait for, as a hash.
    Surroundings(String),
}

/// How often a handler is notified for the same state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Something is unfinished: at once, and again with each resync.
    Now,
    /// It is notified this often.
    Poll(Duration),
    /// It is as it should be, and looked at with each resync: it can change without a word.
    Watched,
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
