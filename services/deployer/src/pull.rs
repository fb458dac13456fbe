//! The pull Secret: the logins of the registries that a Component's images are pulled from, as the
//! kubelet reads them.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use secrecy::ExposeSecret as _;
use sequencer_api::host::Refusal;
use sequencer_api::labels::MADE_FROM;
use sequencer_api::login::{Login, registry};
use sequencer_api::repository::{HUB, Malformed, Repository};
use sequencer_runtime::cluster::secret::Secrets;
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::plan::{Used, View, WantedLogin, controller, pull_metadata, pull_secret, wanted_logins};
use crate::service::Service;

/// Secrets, `<namespace>/<name>`, with their versions.
pub(crate) type Versions = BTreeMap<String, String>;

/// What a pull Secret holds.
#[derive(Default)]
struct Logins {
    from: Versions,
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
        let api: Api<Secret> = Api::namespaced(self.client().clone(), view.namespace());
        let name = pull_secret(view);
        let source = serde_json::to_string(&logins.from)?;
        let config = json!({"auths": logins.auths}).to_string();
        let data = json!({".dockerconfigjson": BASE64.encode(config.as_bytes())});
        let written = match api.get_opt(&name).await? {
            None => {
                let mut metadata = pull_metadata(view, self.settings(), &name);
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("annotations".into(), json!({MADE_FROM: source}));
                }
                let body = json!({"metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": data});
                api.create(&PostParams::default(), &serde_json::from_value(body)?)
                    .await
            }
            Some(found) if !is_ours(view, &found) => {
                return Err(Error::Foreign {
                    kind: "Secret".into(),
                    name,
                });
            }
            Some(found) if made_from(&found) == Some(&source) => return Ok(logins.from),
            Some(found) => {
                let metadata = json!({
                    "resourceVersion": found.metadata.resource_version, "annotations": {MADE_FROM: source},
                });
                let patch = json!({"metadata": metadata, "data": data});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
            }
        };
        written.map_err(|error| Error::of_write(error, "Secret", &name))?;
        Ok(logins.from)
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
            .from
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
        logins.auths.insert(host.into(), entry(&login));
        Ok(())
    }
}

fn is_ours(view: &View, found: &Secret) -> bool {
    controller(found.metadata.owner_references.as_ref())
        .is_some_and(|owner| owner.uid == view.uid())
}

fn made_from(found: &Secret) -> Option<&String> {
    found.metadata.annotations.as_ref()?.get(MADE_FROM)
}

/// An entry of Docker's `config.json`.
fn entry(login: &Login) -> Value {
    let password = login.password.expose_secret();
    let auth = BASE64.encode(format!("{}:{password}", login.username).as_bytes());
    json!({"username": login.username, "password": password, "auth": auth})
}
