//! The connector in the cluster: its Deployment, its NetworkPolicy, and the Secret with its token and the copy of the
//! credential. All three have one name.

mod plan;

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::names::h10;
use sequencer_api::{Workspace, labels};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Routed, owner};
use crate::args::{Args, NAME};
use crate::error::Error;

pub use plan::ready;

/// The key of the token, the only one that the pod mounts.
pub const TOKEN: &str = "token";
/// The key of the copy of the credential.
pub const API_TOKEN: &str = "apiToken";

/// The connector of one Workspace.
#[derive(Clone)]
pub struct Connector {
    client: Client,
    namespace: String,
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
}

/// What stands beside the Secret, without metadata.
#[derive(Clone, Debug)]
pub struct Parts {
    policy: Map<String, Value>,
    deployment: Map<String, Value>,
}

impl Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Connector {
    /// That of this Workspace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, workspace: &Workspace) -> Self {
        let name = owner(workspace).connector();
        let uid = workspace.uid().unwrap_or_default();
        Self { client, namespace: namespace.into(), labels: plan::marks(workspace, &name), uid, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keeps a value in the Secret; whether it was another.
    ///
    /// # Errors
    /// The API server refuses, or the Secret is somebody else's.
    pub async fn keep(&self, key: &str, value: &SecretString) -> Result<bool, Error> {
        let secret = Secret {
            metadata: self.metadata(None),
            data: Some(BTreeMap::from([(key.to_owned(), ByteString(value.expose_secret().as_bytes().to_vec()))])),
            type_: Some("Opaque".into()),
            ..Secret::default()
        };
        let Some(found) = self.find_or_create(&secret).await? else { return Ok(true) };
        if holds(&found, key, value) {
            return Ok(false);
        }
        self.patch::<Secret>(&json!({"data": secret.data})).await?;
        Ok(true)
    }

    /// Whether these values are in the Secret, and the NetworkPolicy and the Deployment are as [`Self::apply`] makes them.
    ///
    /// # Errors
    /// The API server refuses, or one of them is somebody else's.
    pub async fn stands(&self, kept: &[(&str, &SecretString)], parts: &Parts) -> Result<bool, Error> {
        let Some(secret) = self.find::<Secret>().await? else { return Ok(false) };
        if !kept.iter().all(|(key, value)| holds(&secret, key, value)) {
            return Ok(false);
        }
        let Some(policy) = self.find::<NetworkPolicy>().await? else { return Ok(false) };
        let Some(deployment) = self.find::<Deployment>().await? else { return Ok(false) };
        let same = |found: &BTreeMap<String, String>, part| found.get(labels::REVISION) == Some(&revision(part));
        Ok(same(policy.annotations(), &parts.policy) && same(deployment.annotations(), &parts.deployment))
    }

    /// The copy of the credential, if there is one of this Workspace's.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn credential(&self) -> Result<Option<SecretString>, Error> {
        let found = self
            .api::<Secret>()
            .get_opt(&self.name)
            .await
            .map_err(|error| Error::Cluster("read the credential's copy", error))?;
        let data = found.filter(|found| self.is_ours(found)).and_then(|found| found.data);
        let value = data.and_then(|mut data| data.remove(API_TOKEN));
        Ok(value.and_then(|value| String::from_utf8(value.0).ok()).map(Into::into))
    }

    /// The NetworkPolicy and the Deployment as they shall be.
    ///
    /// # Errors
    /// A route leads nowhere.
    pub fn parts(
        &self,
        args: &Args,
        tunnel: &str,
        workspace: &Workspace,
        routes: &[Routed<'_>],
    ) -> Result<Parts, Error> {
        Ok(Parts { policy: self.policy(workspace, routes)?, deployment: self.deployment(args, tunnel) })
    }

    /// Makes the NetworkPolicy and the Deployment so.
    ///
    /// # Errors
    /// The API server refuses, or one of them is somebody else's.
    pub async fn apply(&self, parts: &Parts) -> Result<(), Error> {
        self.make::<NetworkPolicy>(&parts.policy).await?;
        self.make::<Deployment>(&parts.deployment).await
    }

    /// The Deployment as it is now.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn deployment_now(&self) -> Result<Option<Deployment>, Error> {
        let found = self.api::<Deployment>().get_opt(&self.name).await;
        Ok(found.map_err(|error| Error::Cluster("read the connector", error))?.filter(|found| self.is_ours(found)))
    }

    /// Deletes the Deployment, with its pods before it; whether all are gone.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn stop(&self) -> Result<bool, Error> {
        self.remove::<Deployment>(&DeleteParams::foreground()).await?;
        Ok(self.deployment_now().await?.is_none())
    }

    /// Deletes the NetworkPolicy.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn open(&self) -> Result<(), Error> {
        self.remove::<NetworkPolicy>(&DeleteParams::default()).await
    }

    /// Deletes the Secret.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn forget(&self) -> Result<(), Error> {
        self.remove::<Secret>(&DeleteParams::default()).await
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn is_ours<K: Resource>(&self, object: &K) -> bool {
        object.labels().get(labels::OWNER_UID) == Some(&self.uid)
    }

    /// The one that is there.
    async fn find<K>(&self) -> Result<Option<K>, Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let found = self.api::<K>().get_opt(&self.name).await;
        match found.map_err(|error| Error::Cluster("read a part of the connector", error))? {
            Some(found) if !self.is_ours(&found) => Err(Error::NameTaken(format!("{}/{}", self.namespace, self.name))),
            found => Ok(found),
        }
    }

    /// The one that is there, or nothing once it is made.
    async fn find_or_create<K>(&self, object: &K) -> Result<Option<K>, Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        if let Some(found) = self.find().await? {
            return Ok(Some(found));
        }
        let parameters = PostParams { field_manager: Some(NAME.into()), ..PostParams::default() };
        match self.api::<K>().create(&parameters, object).await {
            Ok(_) => Ok(None),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => self.find().await,
            Err(error) => Err(Error::Cluster("make a part of the connector", error)),
        }
    }

    /// Creates it, or patches the one that was rendered otherwise.
    async fn make<K>(&self, part: &Map<String, Value>) -> Result<(), Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        let revision = revision(part);
        let mut object = part.clone();
        object.insert("metadata".into(), json!(self.metadata(Some(&revision))));
        let object = Value::Object(object);
        let wanted: K = serde_json::from_value(object.clone())
            .map_err(|error| Error::Cluster("render a part of the connector", kube::Error::SerdeError(error)))?;
        match self.find_or_create(&wanted).await? {
            Some(found) if found.annotations().get(labels::REVISION) != Some(&revision) => {
                self.patch::<K>(&object).await
            }
            _ => Ok(()),
        }
    }

    async fn patch<K>(&self, patch: &Value) -> Result<(), Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let parameters = PatchParams { field_manager: Some(NAME.into()), ..PatchParams::default() };
        let patched = self.api::<K>().patch(&self.name, &parameters, &Patch::Merge(patch)).await;
        patched.map(drop).map_err(|error| Error::Cluster("change a part of the connector", error))
    }

    /// Deletes it if it is ours.
    async fn remove<K>(&self, parameters: &DeleteParams) -> Result<(), Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let failed = |error| Error::Cluster("delete a part of the connector", error);
        let Some(found) = self.api::<K>().get_opt(&self.name).await.map_err(failed)? else { return Ok(()) };
        if !self.is_ours(&found) || found.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        // Only the one that was looked at.
        let mut parameters = parameters.clone();
        parameters.preconditions = Some(kube::api::Preconditions { uid: found.uid(), resource_version: None });
        match self.api::<K>().delete(&self.name, &parameters).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            deleted => deleted.map(drop).map_err(failed),
        }
    }

    fn metadata(&self, revision: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels.clone()),
            annotations: revision.map(|revision| BTreeMap::from([(labels::REVISION.into(), revision.into())])),
            ..Default::default()
        }
    }
}

/// A hash of what was rendered.
fn revision(part: &Map<String, Value>) -> String {
    h10(&[&json!(part).to_string()])
}

/// Whether a value is kept in a Secret.
fn holds(secret: &Secret, key: &str, value: &SecretString) -> bool {
    let kept = secret.data.as_ref().and_then(|data| data.get(key));
    kept.is_some_and(|kept| kept.0 == value.expose_secret().as_bytes())
}
