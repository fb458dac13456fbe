//! The login for a registry, from where it is kept: the Secret that a spec names, or a file of the
//! operator's.

use std::path::{Path, PathBuf};

use sequencer_api::code::Code;
use sequencer_api::login::{self, Login, LoginError};
use sequencer_api::repository::Repository;
use sequencer_api::secret::Credentials;
use thiserror::Error;

use crate::cluster::secret::SecretError;
use crate::retry::Retry;
use crate::section::{Failure, SecretReader};

/// A login, and the Secret that it was read from.
#[derive(Debug)]
pub struct SecretLogin {
    /// The login.
    pub login: Login,
    /// The Secret, `<namespace>/<name>`.
    pub source: String,
    /// The Secret's resourceVersion.
    pub version: String,
}

/// Credentials give no login. No message names a value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Logins of this scheme cannot be read yet.
    #[error("credentials.{0}")]
    Scheme(LoginError),
    /// The Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The Secret holds no login.
    #[error("Secret {secret}: {error}")]
    Login {
        /// The Secret, `<namespace>/<name>`.
        secret: String,
        /// What is wrong with it.
        error: LoginError,
    },
}

impl Failure for CredentialsError {
    fn code(&self) -> Code {
        match self {
            Self::Scheme(error) | Self::Login { error, .. } => error.code(),
            Self::Secret(error) => error.code(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Scheme(_) | Self::Secret(SecretError::Unnamed) => Retry::Stalled,
            Self::Secret(_) | Self::Login { .. } => Retry::Backoff,
        }
    }

    fn may_be_a_secrets(&self) -> bool {
        match self {
            Self::Scheme(_) => false,
            Self::Secret(_) | Self::Login { .. } => true,
        }
    }
}

/// A file of the operator's holds no login.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginFileError {
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// It is not `user:password`.
    #[error("{0} does not hold user:password")]
    Malformed(PathBuf),
}

/// Reads the login for a repository from the Secret that its credentials name.
///
/// # Errors
/// See [`CredentialsError`].
pub async fn read_login(
    secrets: &SecretReader,
    repository: &Repository,
    credentials: &Credentials,
) -> Result<SecretLogin, CredentialsError> {
    // Before the Secret is asked for: with such a scheme there may be none.
    login::supported(credentials.auth_scheme).map_err(CredentialsError::Scheme)?;

    let secret = secrets.named(credentials).await?;
    secret.for_host(repository.host())?;

    let login = login::registry(repository.host(), credentials.auth_scheme, secret.values());
    let login = login.map_err(|error| CredentialsError::Login {
        secret: secret.source().into(),
        error,
    })?;

    Ok(SecretLogin {
        login,
        source: secret.source().into(),
        version: secret.version().into(),
    })
}

/// Reads the login that a file holds: `user:password`.
///
/// # Errors
/// See [`LoginFileError`].
pub fn read_login_file(file: &Path) -> Result<Login, LoginFileError> {
    let text =
        std::fs::read_to_string(file).map_err(|error| LoginFileError::Read(file.into(), error))?;
    Login::parse(&text).ok_or_else(|| LoginFileError::Malformed(file.into()))
}

#[cfg(test)]
mod tests {
    use kube::{Client, Config};
    use sequencer_api::secret::AuthScheme;

    use super::*;
    use crate::cluster::secret::Secrets;

    /// What becomes of credentials that name no Secret. Nothing is there that would answer.
    async fn unnamed(auth_scheme: AuthScheme) -> CredentialsError {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let secrets = SecretReader::new(Secrets::new(client), "team");
        let credentials = Credentials {
            auth_scheme,
            secret_ref: None,
        };

        let repository = "registry.test/app".parse().unwrap();
        read_login(&secrets, &repository, &credentials)
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn a_scheme_that_is_not_supported_is_refused_before_a_secret_is_asked_for() {
        for scheme in [AuthScheme::Aws, AuthScheme::Google, AuthScheme::Azure] {
            let error = unnamed(scheme).await;
            assert_eq!(error.code(), Code::RegistryFeatureUnsupported, "{error}");
            assert_eq!(error.retry(), Retry::Stalled, "{error}");
        }
    }

    #[tokio::test]
    async fn a_login_without_a_secret_is_for_a_person_to_name() {
        for scheme in [AuthScheme::KeyPair, AuthScheme::Token] {
            let error = unnamed(scheme).await;
            assert_eq!(error.code(), Code::SecretNotFound, "{error}");
            assert_eq!(error.retry(), Retry::Stalled, "{error}");
        }
    }
}
