//! The pull Secret: the logins of the registries that a Component's images are pulled from, as the
//! kubelet reads them.

use data_encoding::BASE64;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use sequencer_api::host::Refusal;
use sequencer_api::login::Login;
use sequencer_api::repository::{Malformed, Repository};
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
    /// By repository, what an entry was made from.
    made_from: Map<String, Value>,
    /// By repository, an entry: two of one registry may have different logins. The kubelet tries
    /// those whose repository an image's name begins with, the longest first (Kubernetes, "Images":
    /// "Interpretation of config.json").
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
            logins.read(wanted, secrets).await?;
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
    async fn read(&mut self, wanted: WantedLogin<'_>, secrets: &SecretReader) -> Result<(), Error> {
        let malformed = |error: Malformed| {
            Refusal::new(error.code(), format!("containerRegistries: {}", wanted.url))
        };

        let repository: Repository = wanted.url.parse().map_err(malformed)?;
        let found = read_login(secrets, &repository, wanted.credentials).await?;
        let made_from = json!({
            "authScheme": wanted.credentials.auth_scheme, "secret": found.source, "version": found.version,
        });
        self.add(&repository, made_from, &found.login);
        Ok(())
    }

    fn add(&mut self, repository: &Repository, made_from: Value, login: &Login) {
        let key = repository.to_string();
        self.auths.insert(key.clone(), entry(login));
        self.made_from.insert(key, made_from);
    }
}

/// An entry of Docker's `config.json`.
fn entry(login: &Login) -> Value {
    let password = login.password.expose_secret();
    let auth = BASE64.encode(format!("{}:{password}", login.username).as_bytes());
    json!({"username": login.username, "password": password, "auth": auth})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_repositories_of_one_registry_keep_their_own_logins() {
        let mut logins = Logins::default();
        for (url, username) in [
            ("r.test/one/app", "one"),
            ("r.test/two/app", "two"),
            ("app", "hub"),
        ] {
            let login = Login {
                username: username.into(),
                password: "word".into(),
            };
            logins.add(&url.parse().unwrap(), Value::Null, &login);
        }

        let names = logins
            .auths
            .iter()
            .map(|(key, entry)| (key.as_str(), entry["username"].as_str().unwrap()));
        let names: Vec<_> = names.collect();
        assert_eq!(
            names,
            [
                ("docker.io/library/app", "hub"),
                ("r.test/one/app", "one"),
                ("r.test/two/app", "two")
            ]
        );
    }
}
