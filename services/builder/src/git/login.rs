//! The login for a repository: what a Secret's keys are good for decides how the repository is
//! reached.

use data_encoding::BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::secret::AuthScheme;
use sequencer_runtime::cluster::secret::Secret;

use super::{Address, Error, Transport};

/// The keys of a private key.
const PRIVATE_KEYS: [&str; 2] = ["privateKey", "ssh-privatekey"];

/// The keys of a GitHub App.
const APP_KEYS: [&str; 3] = [
    "githubAppID",
    "githubAppInstallationID",
    "githubAppPrivateKey",
];

/// What is shown to a git server.
#[derive(Debug)]
pub struct Login {
    /// The Secret, `<namespace>/<name>`: what was fetched with it is for nobody who names another.
    pub(super) source: Option<String>,
    pub(super) with: With,
    /// Host keys that the Secret vouches for.
    pub(super) known_hosts: Option<SecretString>,
    /// Certificate authorities of the Secret's host.
    pub(super) authority: Option<SecretString>,
}

/// By what it is known.
#[derive(Debug)]
pub(super) enum With {
    /// Nothing: the repository is public.
    Nothing,
    Key {
        key: SecretString,
        /// What it is locked with.
        passphrase: Option<SecretString>,
    },
    /// A name and a password or token.
    Password {
        user: String,
        password: SecretString,
    },
}

impl Login {
    #[must_use]
    pub fn none() -> Self {
        Self {
            source: None,
            with: With::Nothing,
            known_hosts: None,
            authority: None,
        }
    }

    /// What a Secret is good for at this address, and the address that it is good for: a token goes
    /// over https, also where the URL says ssh. With both a key and a token, the URL's form
    /// decides.
    ///
    /// # Errors
    /// Its keys are others (E#1006), one is empty, or it is bound to another host.
    pub fn read(
        scheme: AuthScheme,
        secret: &Secret,
        address: &Address,
    ) -> Result<(Self, Address), Error> {
        secret.for_host(&address.host)?;
        let has = |key: &&str| secret.keys().contains(key);
        let optional = |key: &str| {
            if has(&key) {
                secret.text(key).map(Some)
            } else {
                Ok(None)
            }
        };

        let key = PRIVATE_KEYS
            .into_iter()
            .find(|key| scheme == AuthScheme::Token && has(key));
        let ssh = key.filter(|_| address.transport == Transport::Ssh);
        let with = if let Some(key) = ssh {
            With::Key {
                key: secret.text(key)?,
                passphrase: optional("passphrase")?,
            }
        } else if scheme == AuthScheme::Token && has(&"token") {
            With::Password {
                user: user(&address.host).into(),
                password: secret.text("token")?,
            }
        } else if scheme == AuthScheme::Token && APP_KEYS.iter().any(has) {
            return Err(Error::GitHubApp {
                secret: secret.source().into(),
            });
        } else if scheme == AuthScheme::KeyPair && has(&"username") && has(&"password") {
            password(secret, "username", "password")?
        } else if scheme == AuthScheme::KeyPair && has(&"accessKey") && has(&"secretToken") {
            password(secret, "accessKey", "secretToken")?
        } else {
            return Err(Error::Keys {
                secret: secret.source().into(),
                found: secret.keys().join(", "),
                wanted: wanted(scheme, address),
            });
        };

        let address = if matches!(with, With::Key { .. }) {
            address.clone()
        } else {
            address.over_https()
        };

        let source = Some(secret.source().into());
        Ok((
            Self {
                source,
                with,
                known_hosts: optional("known_hosts")?,
                authority: optional("ca.crt")?,
            },
            address,
        ))
    }

    /// The value of the header `Authorization`, where a password goes over https.
    pub(super) fn authorization(&self) -> Option<SecretString> {
        let With::Password { user, password } = &self.with else {
            return None;
        };
        let plain = format!("{user}:{}", password.expose_secret());
        Some(format!("Basic {}", BASE64.encode(plain.as_bytes())).into())
    }

    /// What must not be shown anywhere.
    #[must_use]
    pub fn hidden(&self) -> Vec<SecretString> {
        let mut hidden: Vec<_> = self.authorization().into_iter().collect();
        match &self.with {
            With::Nothing => {}
            With::Key { passphrase, .. } => hidden.extend(passphrase.clone()),
            With::Password { password, .. } => hidden.push(password.clone()),
        }
        hidden
    }
}

fn password(secret: &Secret, user: &str, password: &str) -> Result<With, Error> {
    let user = secret.text(user)?.expose_secret().into();
    Ok(With::Password {
        user,
        password: secret.text(password)?,
    })
}

/// The name that goes with a token.
fn user(host: &str) -> &'static str {
    match host {
        "bitbucket.org" => "x-token-auth",
        host if host.contains("gitlab") => "oauth2",
        _ => "x-access-token",
    }
}

fn wanted(scheme: AuthScheme, address: &Address) -> &'static str {
    match (scheme, address.transport) {
        (AuthScheme::Token, Transport::Ssh) => "privateKey, ssh-privatekey or token",
        (AuthScheme::Token, Transport::Https) => "token",
        (AuthScheme::KeyPair, _) => "username and password",
        _ => "those of authScheme token or keyPair: a git server takes no other",
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::code::Code;

    use super::*;

    const SSH: &str = "git@github.com:a/b.git";
    const HTTPS: &str = "https://github.com/a/b.git";

    fn secret(keys: &[(&str, &str)]) -> Secret {
        let data: std::collections::BTreeMap<_, _> = keys
            .iter()
            .map(|(key, value)| (*key, BASE64.encode(value.as_bytes())))
            .collect();
        let object =
            serde_json::json!({"metadata": {"name": "s", "namespace": "team"}, "data": data});

        serde_json::from_value::<k8s_openapi::api::core::v1::Secret>(object)
            .unwrap()
            .into()
    }

    fn read(scheme: AuthScheme, keys: &[(&str, &str)], url: &str) -> Result<(Login, String), Code> {
        let read = Login::read(scheme, &secret(keys), &Address::parse(url).unwrap());
        read.map(|(login, address)| (login, address.to_string()))
            .map_err(|error| error.code())
    }

    #[test]
    fn the_keys_decide_how_a_repository_is_reached() {
        for key in PRIVATE_KEYS {
            let (login, url) = read(AuthScheme::Token, &[(key, "k"), ("token", "t")], SSH).unwrap();
            assert!(matches!(login.with, With::Key { .. }) && url == SSH);
        }

        let (login, url) = read(AuthScheme::Token, &[("token", "t\n")], SSH).unwrap();
        assert_eq!(url, HTTPS);
        let sent = login.authorization().unwrap();
        assert_eq!(
            sent.expose_secret(),
            &format!("Basic {}", BASE64.encode(b"x-access-token:t"))
        );

        let (login, _) = read(
            AuthScheme::Token,
            &[("privateKey", "k"), ("token", "t")],
            HTTPS,
        )
        .unwrap();
        assert!(matches!(login.with, With::Password { .. }));

        let (login, url) = read(
            AuthScheme::KeyPair,
            &[("username", "u"), ("password", "p")],
            SSH,
        )
        .unwrap();
        assert!(matches!(&login.with, With::Password { user, .. } if user == "u") && url == HTTPS);
    }

    #[test]
    fn other_keys_are_e1006_and_empty_ones_e1013() {
        for (scheme, keys, url) in [
            (AuthScheme::Token, &[("password", "x")][..], SSH),
            (AuthScheme::Token, &[("privateKey", "x")], HTTPS),
            (AuthScheme::KeyPair, &[("token", "x")], HTTPS),
            (AuthScheme::KeyPair, &[("username", "x")], HTTPS),
            (AuthScheme::Aws, &[("token", "x")], HTTPS),
            (
                AuthScheme::Token,
                &[("githubAppID", "1"), ("githubAppPrivateKey", "x")],
                HTTPS,
            ),
            (AuthScheme::Token, &[], HTTPS),
        ] {
            assert_eq!(
                read(scheme, keys, url).unwrap_err(),
                Code::SecretKeysInvalid
            );
        }
        assert_eq!(
            read(AuthScheme::Token, &[("token", "\n")], SSH).unwrap_err(),
            Code::SecretEmpty
        );
    }

    #[test]
    fn a_login_shows_nothing_of_its_values() {
        let (login, _) = read(AuthScheme::Token, &[("token", "canary")], SSH).unwrap();
        assert!(!format!("{login:?}").contains("canary"));
    }
}
