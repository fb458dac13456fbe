//! What can go wrong, and how it is met.

use std::collections::BTreeMap;

use kube::core::Status;
use sequencer_api::code::Code;
use sequencer_api::login::LoginError;
use sequencer_runtime::cluster::RecordError;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::retry::Retry;
use thiserror::Error;

/// The object asks for something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refused {
    /// The error.
    pub code: Code,
    /// Where, what, and what to do.
    pub message: String,
}

impl Refused {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A step could not be finished.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The object asks for something that cannot be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name belongs to an object that is not ours.
    #[error("{kind} {name} is there and belongs to somebody else: delete or rename it")]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Admission or a quota refused an object.
    #[error("{kind} {name} was refused: {words}")]
    Admission {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whether it is a quota that is used up.
        quota: bool,
        /// The API server's words.
        words: String,
    },
    /// What had this name is still being deleted.
    #[error("{kind} {name} is still being deleted")]
    Deleting {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The namespace goes, and everything in it.
    #[error("the namespace is being deleted")]
    Namespace,
    /// A Secret that is needed cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A Secret holds no login.
    #[error("Secret {secret}: {error}")]
    Login {
        /// What is wrong.
        error: LoginError,
        /// Where it is.
        secret: String,
        /// Its version.
        version: String,
    },
    /// The API server did not answer, or answered something else than expected.
    #[error("the cluster cannot be read or written")]
    Cluster(#[from] kube::Error),
    /// Status could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An object is not as its kind has it.
    #[error("an object cannot be read")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What the API server said to a write of this object.
    pub(crate) fn of_write(error: kube::Error, kind: &str, name: &str) -> Self {
        let kube::Error::Api(status) = &error else { return Self::Cluster(error) };
        let words = status.message.clone();
        match status.code {
            403 if caused_by(status, "NamespaceTerminating") => Self::Namespace,
            403 | 422 => {
                Self::Admission { kind: kind.into(), name: name.into(), quota: words.contains("exceeded quota"), words }
            }
            _ => Self::Cluster(error),
        }
    }

    /// The code that users see.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Some(refused.code),
            Self::Foreign { .. } => Some(Code::NOT_OURS),
            Self::Admission { quota: true, .. } => Some(Code::QUOTA),
            Self::Admission { .. } => Some(Code::ADMISSION),
            Self::Secret(SecretError::Cluster(..)) => None,
            Self::Secret(error) => Some(error.code()),
            Self::Login { error, .. } => Some(error.code()),
            Self::Deleting { .. } | Self::Namespace | Self::Cluster(_) | Self::Record(_) | Self::Json(_) => None,
        }
    }

    /// The Secrets that may be the cause, with their versions.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<String, String> {
        match self {
            Self::Login { secret, version, .. } => BTreeMap::from([(secret.clone(), version.clone())]),
            Self::Secret(SecretError::Missing(secret)) => BTreeMap::from([(secret.clone(), String::new())]),
            _ => BTreeMap::new(),
        }
    }

    /// How it is tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused(_) => Retry::Stalled,
            Self::Deleting { .. } => Retry::Wait(std::time::Duration::from_secs(1)),
            Self::Foreign { .. }
            | Self::Secret(_)
            | Self::Login { .. }
            | Self::Admission { .. }
            | Self::Namespace
            | Self::Cluster(_)
            | Self::Record(_)
            | Self::Json(_) => Retry::Backoff,
        }
    }
}

fn caused_by(status: &Status, reason: &str) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
}
