//! The connector in the cluster: its Deployment, its NetworkPolicy, and the Secret with its token
//! and the copy of the credential. All three have one name.

mod plan;

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::{ByteString, NamespaceResourceScope};
use kube::api::{ApiResource, DynamicObject, PropagationPolicy};
use kube::{Api, Client, Resource, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::{Workspace, labels};
use sequencer_runtime::apply::{Applier, Object};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::args::{Args, NAME};
use crate::error::Error;

use self::plan::Identity;
pub use self::plan::{TOKEN, ready};

/// The key of the copy of the credential.
pub const API_TOKEN: &str = "apiToken";

/// The connector of one Workspace.
#[derive(Clone)]
pub struct Connector {
    client: Client,
    applier: Applier,
    identity: Identity,
}

/// What stands beside the Secret.
#[derive(Clone, Debug)]
pub struct Parts {
    policy: Object,
    deployment: Object,
}

impl Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// That of this Workspace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, workspace: &Workspace) -> Self {
        Self {
            applier: Applier::new(client.clone(), NAME),
            client,
            identity: Identity::new(namespace, workspace),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Where its objects are, in messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.identity.namespace, self.identity.name)
    }

    /// Stores these values in the Secret, beside those that it has.
    ///
    /// # Errors
    /// The API server refuses, or the Secret is somebody else's.
    pub async fn store(&self, values: &[(&str, &SecretString)]) -> Result<(), Error> {
        let found = self.find::<Secret>().await?;
        if found.as_ref().is_some_and(|found| holds(found, values)) {
            return Ok(());
        }

        let (uid, data) = found.map_or((None, None), |found| (found.metadata.uid, found.data));
        let mut data = data.unwrap_or_default();
        data.extend(values.iter().map(|(key, value)| {
            let value = value.expose_secret().as_bytes().to_vec();
            ((*key).to_owned(), ByteString(value))
        }));

        let secret =
            Object::new::<Secret>(json!({"metadata": self.identity.metadata(), "type": "Opaque"}))
                .with_secret(json!(data));

        // Its revision does not know its values.
        let made = self
            .applier
            .write(&self.identity.namespace, &secret, uid.as_deref());
        self.written(made.await)
    }

    /// Whether these values are in the Secret, and the NetworkPolicy and the Deployment are as
    /// [`Self::apply`] makes them.
    ///
    /// # Errors
    /// The API server refuses, or one of them is somebody else's.
    pub async fn stands(
        &self,
        values: &[(&str, &SecretString)],
        parts: &Parts,
    ) -> Result<bool, Error> {
        let Some(secret) = self.find::<Secret>().await? else {
            return Ok(false);
        };

        if !holds(&secret, values) {
            return Ok(false);
        }

        for part in [&parts.policy, &parts.deployment] {
            let found = self.find_object(part).await?;
            if !found.is_some_and(|found| self.applier.stands(part, &found)) {
                return Ok(false);
            }
        }

        Ok(true)
    }

    /// The copy of the credential, if there is one of this Workspace's.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn credential(&self) -> Result<Option<SecretString>, Error> {
        let found = self
            .api::<Secret>()
            .get_opt(self.name())
            .await
            .map_err(|error| Error::Cluster("read the credential's copy", error))?;
        let value = found
            .filter(|found| self.is_ours(found))
            .and_then(|found| found.data?.remove(API_TOKEN))
            .and_then(|value| String::from_utf8(value.0).ok());

        Ok(value.map(Into::into))
    }

    /// The NetworkPolicy and the Deployment as they shall be.
    #[must_use]
    pub fn parts(&self, args: &Args, tunnel: &str, workspace: &Workspace) -> Parts {
        Parts {
            policy: self.identity.policy(workspace),
            deployment: self.identity.deployment(args, tunnel),
        }
    }

    /// Makes the NetworkPolicy and the Deployment so.
    ///
    /// # Errors
    /// The API server refuses, or one of them is somebody else's.
    pub async fn apply(&self, parts: &Parts) -> Result<(), Error> {
        self.write(&parts.policy).await?;
        self.write(&parts.deployment).await
    }

    /// The Deployment as it is now.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn read_deployment(&self) -> Result<Option<Deployment>, Error> {
        let found = self.api::<Deployment>().get_opt(self.name()).await;
        Ok(found
            .map_err(|error| Error::Cluster("read the connector", error))?
            .filter(|found| self.is_ours(found)))
    }

    /// Deletes the Deployment, with its pods before it; whether all are gone.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn delete_deployment(&self) -> Result<bool, Error> {
        self.delete::<Deployment>(PropagationPolicy::Foreground)
            .await?;
        Ok(self.read_deployment().await?.is_none())
    }

    /// Deletes the NetworkPolicy.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn delete_network_policy(&self) -> Result<(), Error> {
        self.delete::<NetworkPolicy>(PropagationPolicy::Background)
            .await
    }

    /// Deletes the Secret.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn delete_secret(&self) -> Result<(), Error> {
        self.delete::<Secret>(PropagationPolicy::Background).await
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.identity.namespace)
    }

    fn is_ours<K: Resource>(&self, object: &K) -> bool {
        object.labels().get(labels::OWNER_UID) == Some(&self.identity.uid)
    }

    fn ours<K: Resource>(&self, found: K) -> Result<K, Error> {
        if self.is_ours(&found) {
            Ok(found)
        } else {
            Err(Error::NameTaken(self.place()))
        }
    }

    /// What has its name, which must be ours.
    async fn find<K>(&self) -> Result<Option<K>, Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let found = self.api::<K>().get_opt(self.name()).await;
        found
            .map_err(|error| Error::Cluster("read a part of the connector", error))?
            .map(|found| self.ours(found))
            .transpose()
    }

    async fn find_object(&self, object: &Object) -> Result<Option<DynamicObject>, Error> {
        let api = self.applier.api(&object.resource, &self.identity.namespace);
        let found = api.get_opt(self.name()).await;
        found
            .map_err(|error| Error::Cluster("read a part of the connector", error))?
            .map(|found| self.ours(found))
            .transpose()
    }

    async fn write(&self, object: &Object) -> Result<(), Error> {
        let found = self.find_object(object).await?;
        let namespace = &self.identity.namespace;
        self.written(self.applier.apply(namespace, object, found).await)
    }

    /// Whether what was made is ours: somebody else may have made one of its name a moment ago.
    fn written(&self, made: kube::Result<DynamicObject>) -> Result<(), Error> {
        let made = made.map_err(|error| Error::Cluster("write a part of the connector", error))?;
        self.ours(made).map(drop)
    }

    /// Deletes it if it is ours.
    async fn delete<K>(&self, policy: PropagationPolicy) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let failed = |error| Error::Cluster("delete a part of the connector", error);
        let resource = ApiResource::erase::<K>(&());
        let api = self.applier.api(&resource, &self.identity.namespace);
        let Some(found) = api.get_opt(self.name()).await.map_err(failed)? else {
            return Ok(());
        };
        if !self.is_ours(&found) || found.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }

        self.applier
            .delete(&resource, &found, policy)
            .await
            .map_err(failed)
    }
}

/// Whether a Secret has these values.
fn holds(secret: &Secret, values: &[(&str, &SecretString)]) -> bool {
    let data = secret.data.as_ref();
    values.iter().all(|(key, value)| {
        data.and_then(|data| data.get(*key))
            .is_some_and(|stored| stored.0 == value.expose_secret().as_bytes())
    })
}
