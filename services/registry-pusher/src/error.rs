//! What can go wrong, and what follows from it.

use sequencer_api::code::Code;
use sequencer_api::repository::Malformed;
use sequencer_runtime::egress::BundleError;
use sequencer_runtime::registry::{CredentialsError, Fault, LoginFileError};
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
    /// The credentials give no login.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Something that is not there yet.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    #[error("registry {host}{}", with(fault, login.as_deref()))]
    Registry {
        host: String,
        /// The Secret of the login, `namespace/name`.
        login: Option<String>,
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

/// With which login it was asked, where that is what it refused.
fn with(fault: &Fault, login: Option<&str>) -> String {
    match (fault, login) {
        (Fault::Refused(_), Some(secret)) => format!(", asked with the Secret {secret}"),
        (Fault::Refused(_), None) => ", asked without a login".into(),
        _ => String::new(),
    }
}

impl Error {
    /// Whether a registry may be well again a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Registry { fault, .. } | Self::Staging(fault) => fault.is_passing(),
            _ => false,
        }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Repository(malformed) => malformed.code(),
            Self::Credentials(error) => error.code(),
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
            Self::Credentials(error) => error.retry(),
            Self::Repository(_) | Self::Unsupported(_) | Self::Unfit(_) => Retry::Stalled,
            Self::Registry {
                fault: Fault::Denied(_),
                ..
            } => Retry::Stalled,
            Self::Registry { .. } | Self::Staging(_) | Self::Cluster(_) => Retry::Backoff,
        }
    }

    fn may_be_a_secrets(&self) -> bool {
        match self {
            Self::Credentials(error) => error.may_be_a_secrets(),
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
    /// The file of the staging registry's login holds none.
    #[error(transparent)]
    Login(#[from] LoginFileError),
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn what_a_registry_did_decides_the_code() {
        let registry = |fault| Error::Registry {
            host: "registry.test".into(),
            login: None,
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
    #[test]
    fn a_login_that_is_refused_is_named_by_its_secret() {
        let told = |login: Option<&str>, fault| {
            let login = login.map(Into::into);
            let host = "registry.test".into();
            Error::Registry { host, login, fault }.to_string()
        };
        let refused = || Fault::Refused(StatusCode::UNAUTHORIZED);
        assert!(told(Some("team-a/company"), refused()).contains("team-a/company"));
        assert!(told(None, refused()).contains("without a login"));
        assert_eq!(
            told(Some("team-a/company"), Fault::Silent),
            "registry registry.test"
        );
    }
}
