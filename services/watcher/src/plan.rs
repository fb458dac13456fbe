//! What a look at an object leads to. Deciding is pure; carrying it out is [`crate::apply`]'s and [`crate::wakes`]'.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use sequencer_api::GROUP;
use sequencer_api::code::Code;
use sequencer_proto::topics::{Kind, Pool, Verb};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Writes of objects, in this order.
    pub actions: Vec<Action>,
    /// Who may have to be woken.
    pub wakes: Vec<Wake>,
    /// What people are told, once the status is written.
    pub events: Vec<Told>,
    /// When it has to be looked at again, if nothing happens before.
    pub next: Option<Timestamp>,
}

impl Plan {
    /// Looks again at this moment, or sooner.
    pub fn again_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// An object as writes need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Target {
    /// Of an object that was read.
    pub fn of<K: Resource>(kind: Kind, object: &K) -> Self {
        Self {
            kind,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
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
        /// Its kind.
        kind: Kind,
        /// The whole object.
        object: Value,
    },
    /// Changes it, if it is still as it was read (RFC 6902).
    Patch {
        /// Which.
        target: Target,
        /// The operations behind the test of its uid.
        operations: Value,
    },
    /// Deletes it.
    Delete(Target),
}

impl Action {
    /// Makes an object.
    pub fn create(kind: Kind, object: &impl Serialize) -> Self {
        Self::Create { kind, object: serde_json::to_value(object).unwrap_or_default() }
    }
}

/// A handler that may have to be woken.
#[derive(Clone, Debug, PartialEq)]
pub struct Wake {
    /// For what.
    pub verb: Verb,
    /// The pool, for verbs of the builder.
    pub pool: Option<Pool>,
    /// The Workspace's uid, or the object's own.
    pub workspace: Uuid,
    /// The object.
    pub target: Target,
    /// Everything that it depends on: another key wakes again.
    pub key: String,
    /// What users change to try again now.
    pub retry: String,
    /// How often.
    pub rhythm: Rhythm,
}

/// How often a handler is woken for the same state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// Something is unfinished: at once, and again with each resync.
    Now,
    /// It is as it should be, as far as status tells: once for each state of what it depends on.
    Once,
    /// It is looked at this often.
    Poll(Duration),
    /// It failed perhaps because of a Secret, which is looked at now and then.
    Secret,
    /// Only when a user says so.
    Held,
}

/// An Event that people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// About which object.
    pub target: Target,
    /// One word.
    pub reason: &'static str,
    /// Whether something is wrong.
    pub warning: bool,
    /// One sentence.
    pub message: String,
}

impl Told {
    /// Nothing is wrong.
    #[must_use]
    pub fn new(target: &Target, reason: &'static str, message: impl Into<String>) -> Self {
        Self { target: target.clone(), reason, warning: false, message: message.into() }
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

/// Something that is wrong, as people read it.
#[must_use]
pub fn told(code: Code, message: &str) -> String {
    format!("{code} {message}")
}
