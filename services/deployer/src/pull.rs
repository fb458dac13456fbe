//! The pull Secret: the logins of the registries that a Component's images are pulled from, as the
//! kubelet reads them.

use data_encoding::BASE64;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use sequencer_api::host::Refusal;
use sequencer_api::login::Login;
use sequencer_api::repository::{HUB, Malformed, Repository};
use sequencer_runtime::apply::Object;
use sequencer_runtime::registry::read_login;
use sequencer_runtime::section::SecretReader;
use serde_json::{Map, Value, json};

use crate::apply::Apply;
use crate::error::Error;
use crate::plan::{Used, View, WantedLogin, pull_metadata, wanted_logins};
use crate::service::Service;

/// What a pull Secret holds.
#[derive(Default)]
struct Logins {
    /// By host, what an entry was made from.
    made_from: Map<String, Value>,
    /// By host, an entry.
    auths: Map<String, Value>,
}

impl Service {
    /// Makes the pull Secret, or makes it anew if a login changed.
    pub(crate) async fn provide_pull(
        &self,
        view: &View,
        used: &Used,
        secrets: &SecretReader,
    ) -> Result<(), Error> {
        let wanted = wanted_logins(view, used);
        if wanted.is_empty() {
            return Ok(());
        }

        let mut logins = Logins::default();

        for wanted in wanted {
            logins.add(wanted, secrets).await?;
        }

        let metadata = pull_metadata(view, self.settings(), &logins.made_from)?;
        let config = json!({"auths": logins.auths}).to_string();
        let secret = Object::new::<Secret>(
            json!({"metadata": metadata, "type": "kubernetes.io/dockerconfigjson"}),
        )
        .with_secret(json!({".dockerconfigjson": BASE64.encode(config.as_bytes())}));

        Apply::new(self.client().clone(), view.namespace())
            .ensure(&secret)
            .await?;
        Ok(())
    }
}

impl Logins {
    async fn add(&mut self, wanted: WantedLogin<'_>, secrets: &SecretReader) -> Result<(), Error> {
        let malformed = |error: Malformed| {
            Refusal::new(error.code(), format!("containerRegistries: {}", wanted.url))
        };

        let repository: Repository = wanted.url.parse().map_err(malformed)?;
        let found = read_login(secrets, &repository, wanted.credentials).await?;
        // The kubelet knows Docker Hub by its old address.
        let host = if repository.host() == HUB {
            "https://index.docker.io/v1/"
        } else {
            repository.host()
        };

        let made_from = json!({
            "authScheme": wanted.credentials.auth_scheme, "secret": found.source, "version": found.version,
        });
        self.made_from.insert(host.into(), made_from);
        self.auths.insert(host.into(), entry(&found.login));
        Ok(())
    }
}

/// An entry of Docker's `config.json`.
fn entry(login: &Login) -> Value {
    let password = login.password.expose_secret();
    let auth = BASE64.encode(format!("{}:{password}", login.username).as_bytes());
    json!({"username": login.username, "password": password, "auth": auth})
}
