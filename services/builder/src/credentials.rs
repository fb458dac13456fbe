//! What a Build may show to others: the Secrets that it names, read when they are needed and kept
//! in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use secrecy::{ExposeSecret as _, SecretSlice};
use sequencer_api::BuildSpec;
use sequencer_api::build::{self as spec, BuildArgs, BuildSecrets, KeyToPath, ValuesFrom};
use sequencer_api::login::Login;
use sequencer_api::repository::Repository;
use sequencer_api::secret::Credentials;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::error::chain;
use sequencer_runtime::registry::read_login;
use sequencer_runtime::section::{Failure as _, SecretReader};
use tracing::warn;

use crate::error::Error;
use crate::git::{self, Address, Remote};

/// Values by name, that may be secret.
type Values = BTreeMap<String, SecretSlice<u8>>;

/// Reads what one object refers to.
pub(crate) struct Reader {
    client: Client,
    namespace: String,
    secrets: Arc<SecretReader>,
}

impl Reader {
    pub(crate) fn new(client: Client, namespace: &str, secrets: Arc<SecretReader>) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            secrets,
        }
    }

    /// A repository with the login that an import has for it.
    pub(crate) async fn remote(
        &self,
        git: &spec::Git,
        credentials: Option<&Credentials>,
    ) -> Result<Remote, Error> {
        let about = |error: git::Error| Error::Git {
            url: git.url.clone(),
            error,
        };

        let address = Address::parse(&git.url).ok_or_else(|| about(git::Error::Url))?;
        let Some(credentials) = credentials else {
            return Ok(Remote {
                address,
                login: git::Login::none(),
            });
        };

        let secret = self.secrets.named(credentials).await?;
        let (login, address) =
            git::Login::read(credentials.auth_scheme, &secret, &address).map_err(about)?;
        Ok(Remote { address, login })
    }

    /// The logins of the Build's registries, by the host that BuildKit asks for. One that cannot be
    /// read is left out: a base image may be public all the same, and publishing tells what is
    /// wrong with it.
    pub(crate) async fn logins(&self, spec: &BuildSpec) -> BTreeMap<String, Login> {
        let mut logins = BTreeMap::new();

        for registry in &spec.container_registries {
            let (Some(credentials), Ok(repository)) =
                (&registry.credentials, registry.url.parse::<Repository>())
            else {
                continue;
            };

            match read_login(&self.secrets, &repository, credentials).await {
                Ok(found) => drop(logins.insert(repository.api_host().to_owned(), found.login)),
                Err(error) => warn!(
                    host = repository.host(),
                    code = %error.code(),
                    error = chain(&error),
                    "Failed to read the login of a registry"
                ),
            }
        }

        logins
    }

    pub(crate) async fn args(
        &self,
        args: Option<&BuildArgs>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let Some(args) = args else {
            return Ok(BTreeMap::new());
        };

        let mut all = BTreeMap::new();

        if let Some(from) = &args.values_from {
            for (name, value) in self.values(from, &args.items).await? {
                if is_reserved(&name) {
                    return Err(Error::Argument(name));
                }
                let value = String::from_utf8(value.expose_secret().to_vec())
                    .map_err(|_error| Error::Argument(name.clone()))?;
                all.insert(name, value);
            }
        }

        // The schema refuses reserved ones; a Build from before it did is refused here.
        for arg in &args.values {
            if is_reserved(&arg.name) {
                return Err(Error::Argument(arg.name.clone()));
            }
            all.insert(arg.name.clone(), arg.value.clone());
        }

        Ok(all)
    }

    /// The build's secrets by their ids.
    pub(crate) async fn secrets(&self, secrets: Option<&BuildSecrets>) -> Result<Values, Error> {
        match secrets {
            Some(secrets) => self.values(&secrets.values_from, &secrets.items).await,
            None => Ok(Values::new()),
        }
    }

    async fn values(&self, from: &ValuesFrom, items: &[KeyToPath]) -> Result<Values, Error> {
        let (all, source) = match (&from.secret_ref, &from.config_map_ref) {
            (Some(reference), _) => {
                let secret = self.secrets.read(reference).await?;
                (secret.values().clone(), secret.source().to_owned())
            }
            (None, Some(reference)) => self.config_map(&reference.name).await?,
            (None, None) => return Ok(Values::new()),
        };

        if items.is_empty() {
            return Ok(all);
        }

        let missing = |key: &str| match &from.secret_ref {
            Some(_) => {
                let found = all.keys().cloned().collect::<Vec<_>>().join(", ");
                SecretError::NoKey {
                    secret: source.clone(),
                    key: key.into(),
                    found,
                }
                .into()
            }
            None => Error::NoConfigMap(format!("key {key} in {source}")),
        };

        let chosen = items.iter().map(|item| {
            let value = all
                .get(&item.key)
                .cloned()
                .ok_or_else(|| missing(&item.key))?;
            Ok((item.path.clone().unwrap_or_else(|| item.key.clone()), value))
        });
        chosen.collect()
    }

    async fn config_map(&self, name: &str) -> Result<(Values, String), Error> {
        let source = format!("ConfigMap {}/{name}", self.namespace);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api
            .get_opt(name)
            .await?
            .ok_or_else(|| Error::NoConfigMap(source.clone()))?;
        let text = found
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.into_bytes()));
        let binary = found
            .binary_data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0));

        Ok((
            text.chain(binary)
                .map(|(key, value)| (key, SecretSlice::from(value)))
                .collect(),
            source,
        ))
    }
}

/// Whether an argument would steer the build itself.
fn is_reserved(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let formed = begins
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    !formed || name.starts_with("BUILDKIT_") || name.to_ascii_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use sequencer_api::code::Code;

    use super::*;

    #[test]
    fn arguments_that_steer_the_build_are_reserved() {
        for name in [
            "BUILDKIT_SYNTAX",
            "BUILDKIT_CACHE_MOUNT_NS",
            "http_proxy",
            "NO_PROXY",
            "A B",
            "1a",
            "",
            "a\nb",
        ] {
            assert!(is_reserved(name), "{name}");
        }

        assert!(!is_reserved("NODE_ENV") && !is_reserved("_x.y-z"));
        assert_eq!(
            Error::Argument("x".into()).code(),
            Code::BuildArgumentForbidden
        );
    }
}
