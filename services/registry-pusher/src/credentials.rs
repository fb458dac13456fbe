//! The login for a registry, from the Secret that a Build names.

use std::collections::BTreeMap;
use std::path::Path;

use sequencer_api::login::{self, Login};
use sequencer_api::repository::Repository;
use sequencer_api::secret::{AuthScheme, Credentials, SecretRef};
use sequencer_runtime::cluster::secret::Secrets;

use crate::error::{Error, StartError};

/// The Secrets that were looked at, `<namespace>/<name>`, with their resourceVersions; an empty one is not there.
pub type Versions = BTreeMap<String, String>;

/// The login for `repository`; none without credentials. What was read is noted in `versions`.
///
/// # Errors
/// The Secret cannot be read, is not for this registry, or holds no login.
pub async fn login(
    secrets: &Secrets,
    namespace: &str,
    repository: &Repository,
    credentials: Option<&Credentials>,
    versions: &mut Versions,
) -> Result<Option<Login>, Error> {
    let Some(Credentials { auth_scheme, secret_ref }) = credentials else { return Ok(None) };
    // Before the Secret is asked for: with these there may be none.
    match auth_scheme {
        AuthScheme::KeyPair | AuthScheme::Token => {}
        AuthScheme::Aws => return Err(Error::Unsupported("credentials.authScheme aws")),
        AuthScheme::Google => return Err(Error::Unsupported("credentials.authScheme google")),
        AuthScheme::Azure => return Err(Error::Unsupported("credentials.authScheme azure")),
    }
    let reference = secret_ref.as_ref().ok_or(Error::NoSecret)?;
    let name = format!("{}/{}", reference.namespace.as_deref().unwrap_or(namespace), reference.name);
    versions.insert(name, String::new());
    let secret = secrets.read(namespace, reference).await?;
    versions.insert(secret.source().to_owned(), secret.version().to_owned());
    secret.for_host(repository.host())?;
    let login = login::registry(repository.host(), *auth_scheme, secret.values());
    login.map(Some).map_err(|wrong| Error::Login { secret: secret.source().to_owned(), wrong })
}

/// The login in a file: `user:password`.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn from_file(file: &Path) -> Result<Login, StartError> {
    let text = std::fs::read_to_string(file).map_err(|error| StartError::Read(file.into(), error))?;
    let (username, password) = text.trim_end().split_once(':').ok_or_else(|| StartError::NoLogin(file.into()))?;
    Ok(Login { username: username.into(), password: password.into() })
}

/// Whether one of these Secrets is not as it was.
pub async fn changed(secrets: &Secrets, namespace: &str, before: &Versions) -> bool {
    for (source, version) in before {
        let (of, name) = source.split_once('/').unwrap_or((namespace, source));
        let reference = SecretRef { name: name.into(), namespace: Some(of.into()) };
        let now = secrets.read(namespace, &reference).await;
        if now.as_ref().map_or("", |secret| secret.version()) != version {
            return true;
        }
    }
    false
}
