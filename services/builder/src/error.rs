//! Why a commit was not found or an image not built.

use sequencer_api::code::Code;
use sequencer_api::login::LoginError;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::retry::Retry;
use thiserror::Error as ThisError;

use crate::buildkit::Failure;
use crate::git;
use crate::staging::StagingError;

/// What went wrong with an object. Messages hold neither their source's text nor the value of a secret.
#[derive(Debug, ThisError)]

pub(crate) enum Error {
    /// A commit cannot be found or fetched.
    #[error("{url}: {error}")]
    Git {
        /// The repository.
        url: String,
        /// Why.
        error: git::Error,
    },
    /// A Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A Secret holds no login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A ConfigMap is not there.
    #[error("there is no {0}: make it")]
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
    /// The build failed.
    #[error("{}", .0.message)]
    Build(Box<Failure>),
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
    /// Claims that ended in no record, again and again.
    #[error("{0} builders in a row ended without a result: their logs tell why")]
    Poison(i32),
    /// The API server does not answer.
    #[error("the API server did not answer, or refused")]
    Cluster(#[from] kube::Error),
}

impl Error {
    /// The code that people see.
    #[must_use]
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Git { error, .. } => error.code(),
            Self::Secret(error) => error.code(),
            Self::Login(error) => error.code(),
            Self::NoConfigMap(_) => Code::NO_CONFIG_MAP,
            Self::Argument(_) => Code::BUILD_ARGUMENT,
            Self::NoFile(_) => Code::NO_DOCKERFILE,
            Self::Leaves(_) => Code::LEAVES_TREE,
            Self::Build(failure) => failure.code,
            Self::Timeout(_) => Code::BUILD_TIMEOUT,
            Self::Staging(_) | Self::Digest => Code::STAGING,
            Self::Files(_) => Code::BUILDER,
            Self::Poison(_) => Code::POISON,
            Self::Cluster(_) => Code::CLUSTER,
        }
    }

    /// How it is tried again.
    #[must_use]
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Git { error, .. } => error.retry(),
            // The same commit fails the same way: whoever pushes makes another Build.
            Self::Build(failure) if matches!(failure.code, Code::BUILD_STEP | Code::NO_DOCKERFILE) => Retry::Stalled,
            Self::Argument(_) | Self::NoFile(_) | Self::Leaves(_) | Self::Timeout(_) => Retry::Stalled,
            Self::Secret(_)
            | Self::Login(_)
            | Self::NoConfigMap(_)
            | Self::Build(_)
            | Self::Staging(_)
            | Self::Digest
            | Self::Files(_)
            | Self::Poison(_)
            | Self::Cluster(_) => Retry::Backoff,
        }
    }

    /// Whether a Secret may be the cause: a change of it is tried at once.
    #[must_use]
    pub(crate) fn because_of_secret(&self) -> bool {
        match self {
            Self::Secret(_) | Self::Login(_) => true,
            Self::Git { error, .. } => matches!(
                error.code(),
                Code::GIT_REFUSED
                    | Code::HOST_KEY
                    | Code::SECRET_KEYS
                    | Code::SECRET_EMPTY
                    | Code::NO_SECRET
                    | Code::SECRET_KEY_MISSING
                    | Code::NOT_SHARED
                    | Code::OTHER_HOST
                    | Code::NO_TENANT
            ),
            _ => false,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Build(Box::new(failure))
    }
}
