//! Secrets, one at a time and by name: none is listed, watched or kept.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as CoreSecret;
use kube::{Api, Client, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sequencer_api::code::Code;
use sequencer_api::secret::SecretRef;
use sequencer_api::stored::Stored as _;
use thiserror::Error;

/// The namespaces that may use a Secret besides its own: `team-a, team-b`, or `*`.
const SHARED_WITH: &str = "se.quencer.io/shared-with";

/// The hosts that a Secret may be sent to, if it has it.
const HOST: &str = "se.quencer.io/host";

/// A Secret cannot be used. No message names a value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Credentials name no Secret.
    #[error("credentials.secretRef: name the Secret that holds the login")]
    Unnamed,
    /// There is no such Secret.
    #[error("Secret {0} not found: create it, or name another")]
    Missing(String),
    /// It does not have the key that is named.
    #[error("Secret {secret} has no key {key}; it has {found}")]
    NoKey {
        /// Where it is.
        secret: String,
        /// The key.
        key: String,
        /// Its keys.
        found: String,
    },
    /// The key holds nothing.
    #[error("key {key} of Secret {secret} is empty")]
    Empty {
        /// Where it is.
        secret: String,
        /// The key.
        key: String,
    },
    /// The key holds something that is no text.
    #[error("key {key} of Secret {secret} is no text")]
    NoText {
        /// Where it is.
        secret: String,
        /// The key.
        key: String,
    },
    /// Its owner or the operator did not agree, or it is not there: nobody learns which.
    #[error(
        "Secret {secret} cannot be used from namespace {from}: its owner annotates it with {SHARED_WITH}, and the operator \
         lists it in the chart's secretGrants"
    )]
    NotShared {
        /// Where it would be.
        secret: String,
        /// Who wants it.
        from: String,
    },
    /// It is bound to other hosts.
    #[error("Secret {secret} is not for host {host}: its annotation {HOST} lists others")]
    OtherHost {
        /// Where it is.
        secret: String,
        /// Where it would have been sent.
        host: String,
    },
    /// The namespace is no tenant of the chart.
    #[error(
        "Secrets of namespace {0} may not be read: the operator adds it to the chart's tenants.namespaces"
    )]
    NoTenant(String),
    /// The API server did not answer, or refused.
    #[error("cannot read Secret {0}")]
    Cluster(String, #[source] kube::Error),
}

impl SecretError {
    /// The code that people see.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unnamed | Self::Missing(_) => Code::SecretNotFound,
            Self::NoKey { .. } => Code::SecretKeyNotFound,
            Self::Empty { .. } => Code::SecretEmpty,
            Self::NoText { .. } => Code::SecretKeysInvalid,
            Self::NotShared { .. } => Code::SecretNotShared,
            Self::OtherHost { .. } => Code::SecretForOtherHost,
            Self::NoTenant(_) => Code::NamespaceNotTenant,
            Self::Cluster(..) => Code::ApiServerUnavailable,
        }
    }
}

/// Reads Secrets with this service's own rights.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Reads with this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The Secret that an object of the namespace `from` refers to. One of another namespace takes
    /// its owner's consent and the operator's grant.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn read(&self, from: &str, reference: &SecretRef) -> Result<Secret, SecretError> {
        let namespace = reference.namespace.as_deref().unwrap_or(from);
        let source = format!("{namespace}/{}", reference.name);
        let foreign = namespace != from;
        let not_shared = || SecretError::NotShared {
            secret: source.clone(),
            from: from.into(),
        };

        let api: Api<CoreSecret> = Api::namespaced(self.client.clone(), namespace);
        let found = match api.get(&reference.name).await {
            Ok(found) => found,
            Err(kube::Error::Api(status)) if foreign && matches!(status.code, 403 | 404) => {
                return Err(not_shared());
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(SecretError::NoTenant(namespace.into()));
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(SecretError::Missing(source));
            }
            Err(error) => return Err(SecretError::Cluster(source, error)),
        };

        if foreign
            && !found
                .annotations()
                .get(SHARED_WITH)
                .is_some_and(|list| lists(list, from))
        {
            return Err(not_shared());
        }

        Ok(Secret::new(source, found))
    }
}

/// A Secret as it was read.
pub struct Secret {
    source: String,
    version: String,
    hosts: Option<String>,
    values: BTreeMap<String, SecretSlice<u8>>,
}

/// Names, never values.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("source", &self.source)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

/// A Secret that was read in another way than by [`Secrets`], which asks for consent.
impl From<CoreSecret> for Secret {
    fn from(found: CoreSecret) -> Self {
        Self::new(
            format!("{}/{}", found.namespace_str(), found.name_any()),
            found,
        )
    }
}

impl Secret {
    fn new(source: String, found: CoreSecret) -> Self {
        let version = found.resource_version().unwrap_or_default();
        let hosts = found.annotations().get(HOST).cloned();
        let values = found.data.unwrap_or_default().into_iter();
        let values = values
            .map(|(key, ByteString(value))| (key, SecretSlice::from(value)))
            .collect();

        Self {
            source,
            version,
            hosts,
            values,
        }
    }

    /// `<namespace>/<name>`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its resourceVersion: another one may hold other values.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        self.values.keys().map(String::as_str).collect()
    }

    /// Every key with its value, as it is.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<String, SecretSlice<u8>> {
        &self.values
    }

    /// The text of a key, without the line's end that editors put behind it.
    ///
    /// # Errors
    /// There is no such key, or it holds no text.
    pub fn text(&self, key: &str) -> Result<SecretString, SecretError> {
        let value = self.values.get(key).ok_or_else(|| SecretError::NoKey {
            secret: self.source.clone(),
            key: key.into(),
            found: if self.values.is_empty() {
                "none".into()
            } else {
                self.keys().join(", ")
            },
        })?;
        let wrong =
            |error: fn(String, String) -> SecretError| error(self.source.clone(), key.into());
        let text = std::str::from_utf8(value.expose_secret())
            .map_err(|_error| wrong(|secret, key| SecretError::NoText { secret, key }))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            Err(wrong(|secret, key| SecretError::Empty { secret, key }))
        } else {
            Ok(text.into())
        }
    }

    /// That it may be sent to this host.
    ///
    /// # Errors
    /// Its annotation lists other hosts.
    pub fn for_host(&self, host: &str) -> Result<(), SecretError> {
        match &self.hosts {
            Some(hosts) if !lists(hosts, host) => Err(SecretError::OtherHost {
                secret: self.source.clone(),
                host: host.into(),
            }),
            _ => Ok(()),
        }
    }
}

/// Whether a list with commas has this name, or is `*`.
fn lists(list: &str, name: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|entry| entry == "*" || entry.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(annotations: serde_json::Value) -> Secret {
        // dG9rZW4K is "token\n", Cg== a line's end, /w== no text.
        let object = json!({
            "metadata": {"name": "s", "resourceVersion": "7", "annotations": annotations},
            "data": {"token": "dG9rZW4K", "blank": "Cg==", "bytes": "/w=="},
        });
        Secret::new("team/s".into(), serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_value_has_no_line_end_and_is_never_shown() {
        let secret = secret(json!({}));
        assert_eq!(secret.text("token").unwrap().expose_secret(), "token");
        assert_eq!(secret.version(), "7");
        assert!(!format!("{secret:?}").contains("token\n"));
        let codes = ["absent", "blank", "bytes"].map(|key| secret.text(key).unwrap_err().code());
        assert_eq!(
            codes,
            [
                Code::SecretKeyNotFound,
                Code::SecretEmpty,
                Code::SecretKeysInvalid
            ]
        );
    }

    #[test]
    fn a_secret_is_sent_only_to_the_hosts_that_it_is_bound_to() {
        assert!(secret(json!({})).for_host("any.example").is_ok());
        let bound = secret(json!({HOST: "ghcr.io, GitHub.com"}));
        assert!(bound.for_host("github.com").is_ok() && bound.for_host("ghcr.io").is_ok());
        assert_eq!(
            bound.for_host("evil.example").unwrap_err().code(),
            Code::SecretForOtherHost
        );
        assert_eq!(
            bound.for_host("io").unwrap_err().code(),
            Code::SecretForOtherHost
        );
    }

    #[test]
    fn a_namespace_is_listed_by_its_whole_name() {
        assert!(lists("a, team ,b", "team") && lists("*", "team"));
        assert!(!lists("team-a", "team") && !lists("", "team"));
    }
}
