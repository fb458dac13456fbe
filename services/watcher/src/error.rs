//! What can go wrong. Everything is tried again by itself: the next event or requeue reconciles the
//! object anew.

use sequencer_api::code::Code;
use sequencer_runtime::cluster::denial::{Denial, is_of_a_namespace_that_goes, is_stale};
use sequencer_runtime::error::Panicked;
use sequencer_runtime::section::RecordError;
use thiserror::Error;

/// A reconcile ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// An object was not written.
    #[error("cannot {verb} {kind} {name}")]
    Write {
        verb: &'static str,
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    /// Somebody else's object has a name that is ours.
    #[error("{kind} {name} was not made for this Workspace")]
    NotOurs { kind: String, name: String },
    /// An object could not be read.
    #[error("cannot read {0}")]
    Read(String, #[source] kube::Error),
    /// A status was not written.
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// An object is no JSON.
    #[error("cannot write an object as JSON")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What the API server does not take, if that is the error.
    #[must_use]
    pub fn denial(&self) -> Option<Denial> {
        match self {
            Self::Write {
                kind, name, source, ..
            } => Denial::of(source, kind, name),
            Self::NotOurs { kind, name } => Some(Denial {
                kind: kind.clone(),
                name: name.clone(),
                code: Code::ObjectNotOwned,
                words: "one of this name is there, and was not made for this".into(),
            }),
            _ => None,
        }
    }

    /// Whether it is ordinary: what was read is older than what is there.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Record(RecordError::Conflict | RecordError::Gone) => true,
            Self::Write {
                source: kube::Error::Api(status),
                ..
            } => is_stale(status),
            _ => false,
        }
    }

    /// Whether its namespace is being deleted, and everything in it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Write {
                source: kube::Error::Api(status),
                ..
            } => is_of_a_namespace_that_goes(status),
            _ => false,
        }
    }
}
