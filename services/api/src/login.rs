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

/// The login for the registry `host` (`Repository::host`) from a Secret's data.
///
/// # Errors
/// See [`LoginError`].
pub fn registry(
    host: &str,
    scheme: AuthScheme,
    keys: &BTreeMap<String, SecretSlice<u8>>,
) -> Result<Login, LoginError> {
    match scheme {
        AuthScheme::KeyPair => key_pair(host, keys),
        AuthScheme::Token => token(host, keys),
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
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> Values {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into()))
            .collect()
    }

    fn login(username: &str, password: &str) -> Result<Login, LoginError> {
        Ok(Login {
            username: username.into(),
            password: password.into(),
        })
    }

    fn docker(auths: &serde_json::Value) -> Values {
        keys(&[(CONFIG, &json!({"auths": auths}).to_string())])
    }

    fn code(host: &str, scheme: AuthScheme, data: &Values) -> Option<Code> {
        registry(host, scheme, data).err().map(|error| error.code())
    }

    #[test]
    fn the_keys_that_are_present_decide() {
        for pairs in [
            [("accessKey", "u"), ("secretToken", "p")],
            [("username", "u"), ("password", "p")],
            [("username", "u\n"), ("password", "p\r\n")],
        ] {
            assert_eq!(
                registry("registry.test", AuthScheme::KeyPair, &keys(&pairs)),
                login("u", "p")
            );
        }
    }

    #[test]
    fn a_secret_as_kubectl_makes_it_fits_docker_hub_under_each_of_its_names() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://registry-1.docker.io/v2/",
        ] {
            let data = docker(&json!({"other.test": {"auth": "eDp5"}, key: {"auth": "dTpwOnE="}}));
            assert_eq!(
                registry("docker.io", AuthScheme::KeyPair, &data),
                login("u", "p:q"),
                "{key}"
            );
        }

        let plain = docker(&json!({"registry.test:5000": {"username": "u", "password": "p"}}));
        assert_eq!(
            registry("registry.test:5000", AuthScheme::KeyPair, &plain),
            login("u", "p")
        );
        assert_eq!(
            code("registry.test", AuthScheme::KeyPair, &plain),
            Some(Code::SecretKeysInvalid)
        );
    }

    #[test]
    fn a_login_for_a_part_of_a_registry_is_for_no_other_part() {
        let data = docker(&json!({"registry.test/team": {"auth": "dTpw"}}));
        assert_eq!(
            code("registry.test", AuthScheme::KeyPair, &data),
            Some(Code::SecretKeysInvalid)
        );
    }

    #[test]
    fn a_token_goes_with_the_name_that_its_registry_prescribes() {
        for (host, user) in [
            ("europe-docker.pkg.dev", "oauth2accesstoken"),
            ("x.azurecr.io", "00000000-0000-0000-0000-000000000000"),
            ("ghcr.io", "token"),
            ("registry.test:5000", "token"),
        ] {
            assert_eq!(
                registry(host, AuthScheme::Token, &keys(&[("token", "t\n")])),
                login(user, "t"),
                "{host}"
            );
        }

        let named = keys(&[("token", "t"), ("username", "me")]);
        assert_eq!(
            registry("ghcr.io", AuthScheme::Token, &named),
            login("me", "t")
        );
    }

    #[test]
    fn wrong_keys_are_e1006_and_empty_ones_e1013() {
        use AuthScheme::{KeyPair, Token};
        for (scheme, pairs, wanted) in [
            (KeyPair, &[][..], Code::SecretKeysInvalid),
            (KeyPair, &[("token", "t")], Code::SecretKeysInvalid),
            (
                KeyPair,
                &[("username", "u"), ("secretToken", "p")],
                Code::SecretKeysInvalid,
            ),
            (KeyPair, &[(CONFIG, "{")], Code::SecretKeysInvalid),
            (
                KeyPair,
                &[(CONFIG, r#"{"auths":{"registry.test":{"auth":"%"}}}"#)],
                Code::SecretKeysInvalid,
            ),
            (KeyPair, &[(CONFIG, "\n")], Code::SecretEmpty),
            (
                KeyPair,
                &[(CONFIG, r#"{"auths":{"registry.test":{}}}"#)],
                Code::SecretEmpty,
            ),
            (
                KeyPair,
                &[("username", "u"), ("password", "\n")],
                Code::SecretEmpty,
            ),
            (
                Token,
                &[("accessKey", "u"), ("secretToken", "p")],
                Code::SecretKeysInvalid,
            ),
            (Token, &[("token", "")], Code::SecretEmpty),
            (
                Token,
                &[("token", "t"), ("username", "\n")],
                Code::SecretEmpty,
            ),
        ] {
            assert_eq!(
                code("registry.test", scheme, &keys(pairs)),
                Some(wanted),
                "{pairs:?}"
            );
        }
        let binary = BTreeMap::from([("token".to_owned(), vec![0xff].into())]);
        assert_eq!(
            code("registry.test", Token, &binary),
            Some(Code::SecretKeysInvalid)
        );
    }

    #[test]
    fn schemes_of_clouds_are_refused_by_name() {
        for scheme in [AuthScheme::Aws, AuthScheme::Google, AuthScheme::Azure] {
            assert_eq!(
                code("registry.test", scheme, &keys(&[])),
                Some(Code::RegistryFeatureUnsupported)
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_carries_a_value(
            marker in "SEQCANARY[A-Za-z0-9]{12}", key in "token|username|password|accessKey|secretToken|\\.dockerconfigjson",
            form in 0..4_usize,
        ) {
            let value = [
                marker.clone(),
                format!("{{\"auths\": \"{marker}\"}}"),
                format!("{{\"auths\": {{\"registry.test\": {{\"auth\": \"{marker}\"}}}}}}"),
                format!("{{\"auths\": {{\"registry.test\": {{\"username\": \"u\", \"password\": \"{marker}\"}}}}}}"),
            ][form].clone();
            let data = keys(&[("username", &marker), (&key, &value)]);

            for scheme in [AuthScheme::KeyPair, AuthScheme::Token] {
                let result = registry("registry.test", scheme, &data);
                let shown = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
                let texts = format!("{result:?} {shown}");
                prop_assert!(!texts.contains(&marker));
            }
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let data = BTreeMap::from([(CONFIG.to_owned(), bytes.into())]);
            prop_assert!(registry("registry.test", AuthScheme::KeyPair, &data).is_err());
        }
    }
}
