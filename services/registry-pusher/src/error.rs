//! What can go wrong, and what follows from it.

use std::path::PathBuf;

use sequencer_api::code::Code;
use sequencer_api::login::LoginError;
use sequencer_api::repository::Malformed;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::egress::BundleError;
use sequencer_runtime::registry::Fault;
use sequencer_runtime::retry::Retry;
use sequencer_runtime::section::Failure;
use thiserror::Error;

use crate::parts::Unfit;

/// Why an image is not published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The url is no repository.
    #[error(transparent)]
    Repository(#[from] Malformed),
    /// The Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The Secret holds no login.
    #[error("Secret {secret}: {wrong}")]
    Login { secret: String, wrong: LoginError },
    /// Credentials without a Secret.
    #[error("credentials.secretRef: name the Secret that holds the login")]
    NoSecret,
    /// Something that is not there yet.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    #[error("registry {host}")]
    Registry {
        host: String,
        #[source]
        fault: Fault,
    },
    #[error("the staging registry")]
    Staging(#[source] Fault),
    #[error("the staged image cannot be copied")]
    Unfit(#[from] Unfit),
    /// The API server does not tell whether the Build is still wanted.
    #[error("cannot find out whether the Build is still wanted")]
    Cluster(#[source] kube::Error),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Repository(malformed) => malformed.code(),
            Self::Secret(error) => error.code(),
            Self::Login { wrong, .. } => wrong.code(),
            Self::NoSecret => Code::SecretNotFound,
            Self::Unsupported(_) => Code::RegistryFeatureUnsupported,
            Self::Registry { fault, .. } => match fault {
                Fault::Refused(_) | Fault::Expired => Code::CredentialsRefused,
                Fault::Missing => Code::RepositoryNotFound,
                Fault::Denied(_) => Code::AddressForbidden,
                Fault::Unreachable(_) | Fault::Silent | Fault::Busy(_) => Code::RegistryUnavailable,
                Fault::Protocol(_) | Fault::Answer(_) | Fault::Digest => Code::PushRejected,
            },
            Self::Staging(fault) => match fault {
                Fault::Missing | Fault::Digest => Code::StagedImageUnusable,
                _ => Code::StagingUnavailable,
            },
            Self::Unfit(_) => Code::StagedImageUnusable,
            Self::Cluster(_) => Code::ApiServerUnavailable,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Repository(_) | Self::NoSecret | Self::Unsupported(_) | Self::Unfit(_) => {
                Retry::Stalled
            }
            Self::Login {
                wrong: LoginError::Unsupported(_),
                ..
            } => Retry::Stalled,
            Self::Registry {
                fault: Fault::Denied(_),
                ..
            } => Retry::Stalled,
            Self::Secret(_)
            | Self::Login { .. }
            | Self::Registry { .. }
            | Self::Staging(_)
            | Self::Cluster(_) => Retry::Backoff,
        }
    }

    fn may_be_a_secrets(&self) -> bool {
        match self {
            Self::Secret(_) | Self::Login { .. } => true,
            Self::Registry { fault, .. } => {
                matches!(fault, Fault::Refused(_) | Fault::Expired | Fault::Missing)
            }
            _ => false,
        }
    }
}

/// The service cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificate authorities cannot be read.
    #[error("cannot read the certificate authorities")]
    Bundle(#[from] BundleError),
    /// There is no HTTP client.
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
    /// A file cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A file holds no login.
    #[error("{0} does not hold user:password")]
    NoLogin(PathBuf),
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn what_a_registry_did_decides_the_code() {
        let registry = |fault| Error::Registry {
            host: "registry.test".into(),
            fault,
        };
        for (error, code, retry) in [
            (
                registry(Fault::Refused(StatusCode::FORBIDDEN)),
                Code::CredentialsRefused,
                Retry::Backoff,
            ),
            (
                registry(Fault::Missing),
                Code::RepositoryNotFound,
                Retry::Backoff,
            ),
            (
                registry(Fault::Busy(StatusCode::TOO_MANY_REQUESTS)),
                Code::RegistryUnavailable,
                Retry::Backoff,
            ),
            (
                registry(Fault::Answer(StatusCode::BAD_REQUEST)),
                Code::PushRejected,
                Retry::Backoff,
            ),
            (
                Error::Staging(Fault::Silent),
                Code::StagingUnavailable,
                Retry::Backoff,
            ),
            (
                Error::Staging(Fault::Digest),
                Code::StagedImageUnusable,
                Retry::Backoff,
            ),
            (
                Error::Unfit(Unfit::Foreign),
                Code::StagedImageUnusable,
                Retry::Stalled,
            ),
            (
                Error::Unsupported("createRepository"),
                Code::RegistryFeatureUnsupported,
                Retry::Stalled,
            ),
        ] {
            assert_eq!((error.code(), error.retry()), (code, retry), "{error:?}");
        }
    }
}
