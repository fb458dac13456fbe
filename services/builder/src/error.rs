//! Why a commit was not found or an image not built.

use sequencer_api::code::{Cause, Code};
use sequencer_api::status::State;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::retry::Retry;
use sequencer_runtime::section::Failure;
use thiserror::Error as ThisError;

use crate::buildkit;
use crate::git;
use crate::staging::StagingError;

/// What went wrong with an object. Messages hold neither their source's text nor the value of a
/// secret.
#[derive(Debug, ThisError)]
pub(crate) enum Error {
    /// A commit cannot be found or fetched.
    #[error("{url}: {error}")]
    Git { url: String, error: git::Error },
    /// A Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An import has no source, which the schema refuses: the object is older than its rule.
    #[error("importContent[{0}].contentFrom.git: name the repository")]
    NoSource(String),
    /// A ConfigMap is not there.
    #[error("{0} not found: create it, or name another")]
    NoConfigMap(String),
    /// An argument that is not allowed.
    #[error("the build argument {0} is reserved or malformed: rename it")]
    Argument(String),
    /// A file of the spec is not in the source.
    #[error("{0} is not in the source at this commit")]
    NoFile(String),
    /// A file of the spec is outside the source.
    #[error("{0} leads out of the source: put the file itself into the repository")]
    Leaves(String),
    #[error("{}", .0.message)]
    Build(Box<buildkit::Failure>),
    /// It took too long.
    #[error("the build took longer than {0}")]
    Timeout(String),
    /// The staging registry does not tell.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// What was pushed is not what is there.
    #[error("the staging registry has another image than the one that was pushed")]
    Digest,
    /// The builder's disk does not work.
    #[error("the builder cannot write or read its files")]
    Files(#[source] std::io::Error),
    /// The API server does not answer.
    #[error("the API server did not answer, or refused")]
    Cluster(#[from] kube::Error),
}

impl Error {
    /// Whether it is ours alone: nobody has to do anything about it, and no other build is the
    /// worse for trying again.
    fn is_ours(&self) -> bool {
        matches!(self, Self::Build(failure) if failure.code == Code::BuildKitLost)
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Git { error, .. } => error.code(),
            Self::Secret(error) => error.code(),
            Self::NoSource(_) => Code::ImportWithoutSource,
            Self::NoConfigMap(_) => Code::ConfigMapNotFound,
            Self::Argument(_) => Code::BuildArgumentForbidden,
            Self::NoFile(_) => Code::DockerfileNotFound,
            Self::Leaves(_) => Code::DockerfileOutsideSource,
            Self::Build(failure) => failure.code,
            Self::Timeout(_) => Code::BuildTimedOut,
            Self::Staging(_) | Self::Digest => Code::StagingUnavailable,
            Self::Files(_) => Code::BuilderUnavailable,
            Self::Cluster(_) => Code::ApiServerUnavailable,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            _ if self.is_ours() => Retry::AtOnce,
            Self::Git { error, .. } => error.retry(),
            // Nothing ran: it may only be a base image that is not there yet.
            Self::Build(failure)
                if failure.code == Code::StepFailed && failure.exit_code.is_none() =>
            {
                Retry::Backoff
            }
            // The same commit fails the same way: whoever pushes makes another Build.
            Self::Build(failure) if failure.code.cause() == Cause::User => Retry::Never,
            Self::NoSource(_) | Self::NoFile(_) | Self::Leaves(_) | Self::Timeout(_) => {
                Retry::Never
            }
            Self::Secret(SecretError::Unnamed) | Self::Argument(_) => Retry::Stalled,
            Self::Secret(_)
            | Self::NoConfigMap(_)
            | Self::Build(_)
            | Self::Staging(_)
            | Self::Digest
            | Self::Files(_)
            | Self::Cluster(_) => Retry::Backoff,
        }
    }

    fn may_be_a_secrets(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            // A step may use one.
            Self::Build(failure) => failure.code == Code::StepFailed,
            Self::Git { error, .. } => matches!(
                error.code(),
                Code::GitOperationFailed
                    | Code::HostKeyUnknown
                    | Code::SecretKeysInvalid
                    | Code::SecretEmpty
                    | Code::SecretNotFound
                    | Code::SecretKeyNotFound
                    | Code::SecretNotShared
                    | Code::SecretForOtherHost
                    | Code::NamespaceNotTenant
            ),
            _ => false,
        }
    }

    /// What is ours is no failure of the object: it is still under way, and nobody is asked to mend
    /// anything.
    fn state(&self) -> State {
        if self.is_ours() {
            State::InProgress
        } else {
            State::Error
        }
    }
}

impl From<buildkit::Failure> for Error {
    fn from(failure: buildkit::Failure) -> Self {
        Self::Build(Box::new(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_its_author_can_mend_is_not_built_again_and_everything_else_is() {
        let failed = |code, exit_code| {
            Error::from(buildkit::Failure {
                exit_code,
                ..buildkit::Failure::plain(code, "words")
            })
        };

        for (error, wanted) in [
            (failed(Code::StepFailed, Some(1)), Retry::Never),
            (
                failed(Code::BuildResourcesExhausted, Some(137)),
                Retry::Never,
            ),
            (failed(Code::DockerfileNotFound, None), Retry::Never),
            (Error::Timeout("30m".into()), Retry::Never),
            // A base image that is not there yet.
            (failed(Code::StepFailed, None), Retry::Backoff),
            (failed(Code::StagingUnavailable, None), Retry::Backoff),
            (failed(Code::BuildKitLost, None), Retry::AtOnce),
            (Error::Digest, Retry::Backoff),
        ] {
            assert_eq!(error.retry(), wanted, "{error}");
        }
    }
}
