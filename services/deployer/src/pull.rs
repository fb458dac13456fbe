//! The pull Secret: the login of the registry that a Component's image is pulled from, as the kubelet reads it.

use data_encoding::BASE64;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use secrecy::ExposeSecret as _;
use sequencer_api::login::{Login, registry};
use sequencer_api::repository::{HUB, Repository};
use sequencer_runtime::cluster::secret::Secrets;
use serde_json::{Value, json};

use crate::error::{Error, Refused};
use crate::handle::Service;
use crate::plan::{Used, View, controller, pull_metadata, pull_secret, wanted_login};

/// The annotation with the version of the Secret that a pull Secret was made from.
const MADE_FROM: &str = "se.quencer.io/made-from";

impl Service {
    /// Makes the pull Secret, or makes it anew if the login changed.
    pub(crate) async fn provide_pull(&self, view: &View, used: &Used) -> Result<(), Error> {
        let Some(wanted) = wanted_login(view, used) else { return Ok(()) };
        let Some(reference) = wanted.credentials.secret_ref.as_ref() else { return Ok(()) };
        let repository: Repository = wanted.url.parse().map_err(|error: sequencer_api::repository::Malformed| {
            Refused { code: error.code(), message: format!("containerRegistries: {}", wanted.url) }
        })?;
        let secret = Secrets::new(self.client().clone()).read(view.namespace(), reference).await?;
        secret.for_host(repository.host())?;
        let source = format!("{}@{}", secret.source(), secret.version());
        let api: Api<Secret> = Api::namespaced(self.client().clone(), view.namespace());
        let name = pull_secret(view);
        let found = api.get_opt(&name).await?;
        let annotations = found.as_ref().and_then(|found| found.metadata.annotations.as_ref());
        let made_from = annotations.and_then(|annotations| annotations.get(MADE_FROM));
        if let Some(found) = &found {
            let owner = controller(found.metadata.owner_references.as_ref()).map(|owner| owner.uid.as_str());
            if owner != Some(view.uid()) {
                return Err(Error::Foreign { kind: "Secret".into(), name });
            }
            if made_from == Some(&source) {
                return Ok(());
            }
        }
        let keys = secret.values().iter().map(|(key, value)| (key.clone(), value.expose_secret().to_vec())).collect();
        let login = registry(repository.host(), wanted.credentials.auth_scheme, &keys).map_err(|error| {
            Error::Login { error, secret: secret.source().into(), version: secret.version().into() }
        })?;
        let data = json!({".dockerconfigjson": BASE64.encode(config(&repository, &login).to_string().as_bytes())});
        self.write_pull(view, &api, found, &source, data).await
    }

    async fn write_pull(
        &self,
        view: &View,
        api: &Api<Secret>,
        found: Option<Secret>,
        source: &str,
        data: Value,
    ) -> Result<(), Error> {
        let name = pull_secret(view);
        let written = if let Some(found) = found {
            let metadata = json!({
                "resourceVersion": found.metadata.resource_version, "annotations": {MADE_FROM: source},
            });
            let patch = json!({"metadata": metadata, "data": data});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await
        } else {
            let mut metadata = pull_metadata(view, self.settings(), &name);
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("annotations".into(), json!({MADE_FROM: source}));
            }
            let body = json!({"metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": data});
            api.create(&PostParams::default(), &serde_json::from_value(body)?).await
        };
        written.map(drop).map_err(|error| Error::of_write(error, "Secret", &name))
    }
}

/// Docker's `config.json` with one login.
fn config(repository: &Repository, login: &Login) -> Value {
    let password = login.password.expose_secret();
    let auth = BASE64.encode(format!("{}:{password}", login.username).as_bytes());
    // The kubelet knows Docker Hub by its old address.
    let host = if repository.host() == HUB { "https://index.docker.io/v1/" } else { repository.host() };
    json!({"auths": {host: {"username": login.username, "password": password, "auth": auth}}})
}
