//! The pull Secret: the logins of the registries that a Component's images are pulled from, as the
//! kubelet reads them.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use sequencer_api::host::Refusal;
use sequencer_api::login::{Login, registry};
use sequencer_api::repository::{HUB, Malformed, Repository};
use sequencer_runtime::apply::Object;
use sequencer_runtime::cluster::secret::Secrets;
use serde_json::{Map, Value, json};

use crate::apply::Apply;
use crate::error::Error;
use crate::plan::{Used, View, WantedLogin, pull_metadata, wanted_logins};
use crate::service::Service;

/// Secrets, `<namespace>/<name>`, with their versions.
pub(crate) type Versions = BTreeMap<String, String>;

/// What a pull Secret holds.
#[derive(Default)]
struct Logins {
    /// The Secrets that they were read from.
    secrets: Versions,
    /// By host, what an entry was made from.
    made_from: Map<String, Value>,
    /// By host, an entry.
    auths: Map<String, Value>,
}

impl Service {
    /// Makes the pull Secret, or makes it anew if a login changed. Returns what it was made from.
    pub(crate) async fn provide_pull(&self, view: &View, used: &Used) -> Result<Versions, Error> {
        let wanted = wanted_logins(view, used);
        if wanted.is_empty() {
            return Ok(Versions::new());
        }

        let mut logins = Logins::default();

        for wanted in wanted {
            self.read_login(view, wanted, &mut logins).await?;
        }

        let metadata = pull_metadata(view, self.settings(), &logins.made_from);
        let config = json!({"auths": logins.auths}).to_string();
        let secret = Object::new::<Secret>(
            json!({"metadata": metadata, "type": "kubernetes.io/dockerconfigjson"}),
        )
        .with_secret(json!({".dockerconfigjson": BASE64.encode(config.as_bytes())}));

        Apply::new(self.client().clone(), view.namespace())
            .ensure(&secret)
            .await?;
        Ok(logins.secrets)
    }

    async fn read_login(
        &self,
        view: &View,
        wanted: WantedLogin<'_>,
        logins: &mut Logins,
    ) -> Result<(), Error> {
        let malformed = |error: Malformed| {
            Refusal::new(error.code(), format!("containerRegistries: {}", wanted.url))
        };

        let repository: Repository = wanted.url.parse().map_err(malformed)?;
        let secret = Secrets::new(self.client().clone())
            .read(view.namespace(), wanted.secret)
            .await?;
        secret.for_host(repository.host())?;
        logins
            .secrets
            .insert(secret.source().into(), secret.version().into());

        let login =
            registry(repository.host(), wanted.scheme, secret.values()).map_err(|error| {
                Error::Login {
                    error,
                    secret: secret.source().into(),
                    version: secret.version().into(),
                }
            })?;
        // The kubelet knows Docker Hub by its old address.
        let host = if repository.host() == HUB {
            "https://index.docker.io/v1/"
        } else {
            repository.host()
        };

        let made_from = json!({
            "authScheme": wanted.scheme, "secret": secret.source(), "version": secret.version(),
        });
        logins.made_from.insert(host.into(), made_from);
        logins.auths.insert(host.into(), entry(&login));
        Ok(())
    }
}

/// An entry of Docker's `config.json`.
fn entry(login: &Login) -> Value {
    let password = login.password.expose_secret();
    let auth = BASE64.encode(format!("{}:{password}", login.username).as_bytes());
    json!({"username": login.username, "password": password, "auth": auth})
}
