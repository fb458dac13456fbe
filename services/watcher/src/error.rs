//! What can go wrong. Everything is tried again by itself: the next event or requeue reconciles the
//! object anew.

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
    /// Whether it is ordinary: what was read is older than what is there.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Record(RecordError::Conflict | RecordError::Gone) => true,
            Self::Write {
                source: kube::Error::Api(status),
                ..
            } => matches!(status.code, 404 | 409 | 422),
            _ => false,
        }
    }
}
