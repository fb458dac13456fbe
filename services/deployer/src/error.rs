//! What can go wrong, and how it is met.

use sequencer_api::code::Code;
use sequencer_api::host::Refusal;
use sequencer_runtime::cluster::denial::{Denial, is_of_a_namespace_that_goes};
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::error::Panicked;
use sequencer_runtime::registry::CredentialsError;
use sequencer_runtime::retry::Retry;
use sequencer_runtime::section::{Failure, RecordError};
use thiserror::Error;

/// A step could not be finished.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The object is the cause, and its section says so.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// What had this name is still being deleted.
    #[error("{kind} {name} is still being deleted")]
    Deleting { kind: String, name: String },
    /// The namespace goes, and everything in it.
    #[error("the namespace is being deleted")]
    Namespace,
    /// The API server did not answer, or answered something else than expected.
    #[error("the cluster cannot be read or written")]
    Cluster(#[from] kube::Error),
    /// The API server did not give a Secret.
    #[error("cannot read Secret {0}")]
    Secret(String, #[source] kube::Error),
    /// Status could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// An object is not as its kind has it.
    #[error("an object cannot be read")]
    Json(#[from] serde_json::Error),
    /// An object lacks what the API server gives each.
    #[error("an object was read that has no name, namespace or uid")]
    Unstored,
}

/// An object cannot be made as it asks.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// It asks for something that cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The Workspace may not be reached at one of its hosts.
    #[error("{0}")]
    Host(Refusal),
    /// The name belongs to an object that is not ours.
    #[error("{kind} {name} is there and belongs to somebody else: delete or rename it")]
    Foreign { kind: String, name: String },
    /// The API server does not take an object.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The login of a registry cannot be read.
    #[error(transparent)]
    Credentials(CredentialsError),
}

impl Failure for ObjectError {
    fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) | Self::Host(refusal) => refusal.code,
            Self::Foreign { .. } => Code::ObjectNotOwned,
            Self::Denied(denial) => denial.code,
            Self::Credentials(error) => error.code(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Refused(_) => Retry::Stalled,
            Self::Host(_) | Self::Foreign { .. } | Self::Denied(_) => Retry::Backoff,
            Self::Credentials(error) => error.retry(),
        }
    }

    fn may_be_a_secrets(&self) -> bool {
        match self {
            Self::Credentials(error) => error.may_be_a_secrets(),
            Self::Refused(_) | Self::Host(_) | Self::Foreign { .. } | Self::Denied(_) => false,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        ObjectError::from(refusal).into()
    }
}

impl From<CredentialsError> for Error {
    fn from(error: CredentialsError) -> Self {
        match error {
            // Nothing is wrong with the object.
            CredentialsError::Secret(SecretError::Cluster(secret, error)) => {
                Self::Secret(secret, error)
            }
            error => ObjectError::Credentials(error).into(),
        }
    }
}

impl Error {
    /// What the API server answered to a write of this object.
    pub(crate) fn of_write(error: kube::Error, kind: &str, name: &str) -> Self {
        match (&error, Denial::of(&error, kind, name)) {
            (_, Some(denial)) => ObjectError::from(denial).into(),
            (kube::Error::Api(status), _) if is_of_a_namespace_that_goes(status) => Self::Namespace,
            _ => Self::Cluster(error),
        }
    }

    /// What has this name is somebody else's.
    pub(crate) fn foreign(kind: &str, name: &str) -> Self {
        let (kind, name) = (kind.into(), name.into());
        ObjectError::Foreign { kind, name }.into()
    }

    /// Whether it goes with the object or its namespace.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Namespace | Self::Record(RecordError::Gone))
    }

    /// Whether somebody else wrote since the object was read.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Record(RecordError::Conflict) => true,
            Self::Cluster(kube::Error::Api(status)) => {
                matches!(status.reason.as_str(), "AlreadyExists" | "Conflict")
            }
            _ => false,
        }
    }
}
