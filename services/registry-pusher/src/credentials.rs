//! The login for a registry, from the Secret that a Build names.

use std::path::Path;

use sequencer_api::login::{self, Login};
use sequencer_api::repository::Repository;
use sequencer_api::secret::{AuthScheme, Credentials};
use sequencer_runtime::section::SecretReader;

use crate::error::{Error, StartError};

/// The login for `repository`, or None without credentials.
///
/// # Errors
/// The Secret cannot be read, is not for this registry, or holds no login.
pub async fn login(
    secrets: &SecretReader,
    repository: &Repository,
    credentials: Option<&Credentials>,
) -> Result<Option<Login>, Error> {
    let Some(Credentials {
        auth_scheme,
        secret_ref,
    }) = credentials
    else {
        return Ok(None);
    };

    // Before the Secret is asked for: with these there may be none.
    match auth_scheme {
        AuthScheme::KeyPair | AuthScheme::Token => {}
        AuthScheme::Aws => return Err(Error::Unsupported("credentials.authScheme aws")),
        AuthScheme::Google => return Err(Error::Unsupported("credentials.authScheme google")),
        AuthScheme::Azure => return Err(Error::Unsupported("credentials.authScheme azure")),
    }

    let reference = secret_ref.as_ref().ok_or(Error::NoSecret)?;
    let secret = secrets.read(reference).await?;
    secret.for_host(repository.host())?;
    let login = login::registry(repository.host(), *auth_scheme, secret.values());
    login.map(Some).map_err(|wrong| Error::Login {
        secret: secret.source().to_owned(),
        wrong,
    })
}

/// The login in a file: `user:password`.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn from_file(file: &Path) -> Result<Login, StartError> {
    let text =
        std::fs::read_to_string(file).map_err(|error| StartError::Read(file.into(), error))?;
    Login::parse(&text).ok_or_else(|| StartError::NoLogin(file.into()))
}
