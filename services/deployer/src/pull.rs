//! The pull Secret: the logins of the registries that a Component's images are pulled from, as the
//! kubelet reads them.

use std::collections::BTreeMap;

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

/// What a pull Secret holds, by repository.
#[derive(Default)]
struct Logins(BTreeMap<Repository, Entry>);

/// A login as the kubelet reads it.
struct Entry {
    /// Which Secret it was made from.
    made_from: Value,
    auth: Value,
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

        let [made_from, auths] = logins.keyed();
        let metadata = pull_metadata(view, self.settings(), &made_from)?;
        let config = json!({"auths": auths}).to_string();
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
        let auth = entry(&found.login);
        self.0.insert(repository, Entry { made_from, auth });
        Ok(())
    }

    /// What each entry was made from, and the entries. A registry has one if it has one login. Else
    /// each of its repositories has its own: the kubelet tries those that an image's name begins
    /// with, the longest first (Kubernetes, "Images": "Interpretation of config.json").
    fn keyed(&self) -> [Map<String, Value>; 2] {
        let is_alone = |repository: &Repository, entry: &Entry| {
            let mut others = self.0.iter();
            others
                .all(|(other, login)| other.host() != repository.host() || login.auth == entry.auth)
        };
        let key = |repository: &Repository, entry: &Entry| match repository.host() {
            _ if !is_alone(repository, entry) => repository.to_string(),
            // The kubelet knows Docker Hub by its old address.
            HUB => "https://index.docker.io/v1/".into(),
            host => host.into(),
        };

        let keyed = self.0.iter();
        let keyed = keyed.map(|(repository, entry)| (key(repository, entry), entry));
        let (made_from, auths) = keyed
            .map(|(key, entry)| {
                (
                    (key.clone(), entry.made_from.clone()),
                    (key, entry.auth.clone()),
                )
            })
            .unzip();
        [made_from, auths]
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

    /// The keys of logins, each of a repository and a user.
    fn keys(logins: &[(&str, &str)]) -> Vec<String> {
        let entry = |(url, user): &(&str, &str)| {
            let (auth, made_from) = (json!(user), Value::Null);
            (url.parse().unwrap(), Entry { made_from, auth })
        };
        let [_, auths] = Logins(logins.iter().map(entry).collect()).keyed();
        auths.into_iter().map(|(key, _auth)| key).collect()
    }

    #[test]
    fn a_registry_has_one_login_or_each_of_its_repositories_its_own() {
        let hub = "https://index.docker.io/v1/";
        let one = [
            ("r.test/one/app", "one"),
            ("r.test/two/app", "one"),
            ("me/app", "me"),
        ];
        assert_eq!(keys(&one), [hub, "r.test"]);

        let two = [
            ("r.test/one/app", "one"),
            ("r.test/two/app", "two"),
            ("app", "me"),
            ("you/app", "you"),
        ];
        let each = [
            "docker.io/library/app",
            "docker.io/you/app",
            "r.test/one/app",
            "r.test/two/app",
        ];
        assert_eq!(keys(&two), each);
    }
}
