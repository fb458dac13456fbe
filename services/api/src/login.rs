//! The login that a Secret holds for a registry. Pure: reading the Secret is the caller's. The keys
//! that are present decide how they are read. No error and no Debug text carries a value.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Deserialize;
use thiserror::Error;

use crate::code::Code;
use crate::repository::canonical;
use crate::secret::AuthScheme;

/// The key of a `kubernetes.io/dockerconfigjson`.
const CONFIG: &str = ".dockerconfigjson";
/// The pairs of keys that hold a name and a password.
const PAIRS: [(&str, &str); 2] = [("accessKey", "secretToken"), ("username", "password")];

/// A name and a password for HTTP's Basic authorization, or for a registry's token service.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password or token.
    pub password: SecretString,
}

impl Login {
    /// Reads `user:password`, as htpasswd and curl write it; None if it is not so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (username, password) = text.trim_end().split_once(':')?;
        Some(Self {
            username: username.into(),
            password: password.into(),
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Login(..)")
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// A Secret holds no login. Its values stand in no text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The keys that the scheme needs are not there.
    #[error("the Secret's keys do not fit authScheme {scheme}: it needs {wanted}")]
    Keys {
        /// The scheme, as users write it.
        scheme: &'static str,
        /// What it needs.
        wanted: &'static str,
    },
    /// A value is no text, or `.dockerconfigjson` is not as Docker writes it.
    #[error("the Secret's key {0} cannot be read")]
    Unreadable(&'static str),
    /// `.dockerconfigjson` has no login for the registry.
    #[error("the Secret's key .dockerconfigjson has no login for {0}")]
    NoEntry(String),
    /// A value is empty.
    #[error("the Secret's key {0} is empty")]
    Empty(&'static str),
    /// A scheme that is not there yet.
    #[error("authScheme {0} is not supported yet: use keyPair or token")]
    Unsupported(&'static str),
}

impl LoginError {
    /// The code that users meet.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Keys { .. } | Self::Unreadable(_) | Self::NoEntry(_) => Code::SecretKeysInvalid,
            Self::Empty(_) => Code::SecretEmpty,
            Self::Unsupported(_) => Code::RegistryFeatureUnsupported,
        }
    }
}

/// The values of a Secret by their keys.
type Values = BTreeMap<String, SecretSlice<u8>>;

/// How the keys of a scheme are read, for the registry of a host.
type Read = fn(&str, &Values) -> Result<Login, LoginError>;

/// Tells whether logins of a scheme can be read, before the Secret is asked for.
///
/// # Errors
/// They cannot, yet.
pub fn supported(scheme: AuthScheme) -> Result<(), LoginError> {
    read(scheme).map(drop)
}

/// The login for the registry `host` (`Repository::host`) from a Secret's data.
///
/// # Errors
/// See [`LoginError`].
pub fn registry(
    host: &str,
    scheme: AuthScheme,
    keys: &BTreeMap<String, SecretSlice<u8>>,
) -> Result<Login, LoginError> {
    let read = read(scheme)?;
    read(host, keys)
}

fn read(scheme: AuthScheme) -> Result<Read, LoginError> {
    match scheme {
        AuthScheme::KeyPair => Ok(key_pair),
        AuthScheme::Token => Ok(token),
        AuthScheme::Aws => Err(LoginError::Unsupported("aws")),
        AuthScheme::Google => Err(LoginError::Unsupported("google")),
        AuthScheme::Azure => Err(LoginError::Unsupported("azure")),
    }
}

fn key_pair(host: &str, keys: &Values) -> Result<Login, LoginError> {
    for (username, password) in PAIRS {
        if let (Some(name), Some(word)) = (keys.get(username), keys.get(password)) {
            return Ok(Login {
                username: text(username, name)?.expose_secret().to_owned(),
                password: text(password, word)?,
            });
        }
    }
    let Some(config) = keys.get(CONFIG) else {
        let wanted = "accessKey and secretToken, username and password, or .dockerconfigjson";
        return Err(LoginError::Keys {
            scheme: "keyPair",
            wanted,
        });
    };
    entry(host, config)
}

fn token(host: &str, keys: &Values) -> Result<Login, LoginError> {
    let token = keys.get("token").ok_or(LoginError::Keys {
        scheme: "token",
        wanted: "token",
    })?;
    let username = match keys.get("username") {
        Some(name) => text("username", name)?.expose_secret().to_owned(),
        None => token_user(host).to_owned(),
    };

    Ok(Login {
        username,
        password: text("token", token)?,
    })
}

/// The name that goes with a token where the registry prescribes one.
fn token_user(host: &str) -> &'static str {
    let name = host.split(':').next().unwrap_or(host);
    if name.ends_with(".pkg.dev") {
        "oauth2accesstoken"
    } else if name.ends_with(".azurecr.io") {
        "00000000-0000-0000-0000-000000000000"
    } else {
        "token"
    }
}

/// A value without the newline that editors and `echo` leave.
fn text(key: &'static str, value: &SecretSlice<u8>) -> Result<SecretString, LoginError> {
    let text = std::str::from_utf8(value.expose_secret())
        .map_err(|_not_shown| LoginError::Unreadable(key))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        Err(LoginError::Empty(key))
    } else {
        Ok(text.into())
    }
}

/// Docker's `config.json`; the rest of it is not ours.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
}

/// The login for one host. The parser's words are not passed on: they quote what they stumble over.
fn entry(host: &str, config: &SecretSlice<u8>) -> Result<Login, LoginError> {
    let config = config.expose_secret();
    if config.trim_ascii().is_empty() {
        return Err(LoginError::Empty(CONFIG));
    }

    let config: Config =
        serde_json::from_slice(config).map_err(|_not_shown| LoginError::Unreadable(CONFIG))?;
    let wanted = canonical(host);
    let found = config
        .auths
        .into_iter()
        .find(|(key, _)| registry_of(key).as_deref() == Some(&wanted));
    let (_, entry) = found.ok_or(LoginError::NoEntry(wanted))?;
    let (username, password) = match entry
        .auth
        .filter(|auth| !auth.expose_secret().trim().is_empty())
    {
        Some(auth) => decoded(&auth).ok_or(LoginError::Unreadable(CONFIG))?,
        None => (
            entry.username.unwrap_or_default(),
            entry.password.unwrap_or_default(),
        ),
    };

    if username.is_empty() || password.expose_secret().is_empty() {
        return Err(LoginError::Empty(CONFIG));
    }

    Ok(Login { username, password })
}

/// `base64(name:password)`.
fn decoded(auth: &SecretString) -> Option<(String, SecretString)> {
    let plain = BASE64.decode(auth.expose_secret().trim().as_bytes()).ok()?;
    let plain: SecretString = String::from_utf8(plain).ok()?.into();
    let (username, password) = plain.expose_secret().split_once(':')?;
    Some((
        username.to_owned(),
        password.trim_end_matches(['\r', '\n', '\0']).into(),
    ))
}

/// The registry that a key of `auths` stands for: `https://index.docker.io/v1/`, `registry.test`,
/// `https://registry.test/v2/`. A key with a path of its own stands for a part of a registry only,
/// and is for no one else.
fn registry_of(key: &str) -> Option<String> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));

    ["", "v1", "v2"]
        .contains(&path.trim_end_matches('/'))
        .then(|| canonical(host))
}

#[cfg(test)]
mod tests;
