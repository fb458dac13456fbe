//! The connector in the cluster: its Deployment, its NetworkPolicy, and the Secret with its token and the copy of the
//! credential. All three have one name.

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

use super::{Routed, network, owner};
use crate::args::{Args, NAME};
use crate::error::Error;

/// The key of the token, the only one that the pod mounts.
pub const TOKEN: &str = "token";
/// The key of the copy of the credential.
pub const API_TOKEN: &str = "apiToken";
/// What was rendered, hashed: another value, and the object is patched.
const REVISION: &str = "se.quencer.io/revision";
/// Whose an object of another namespace is.
const OWNER_UID: &str = "se.quencer.io/owner-uid";
/// Where the connector says whether it is connected.
const METRICS: u16 = 20241;
/// Ranges that are not Cloudflare's edge: whoever re-points the route does not reach the cluster.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];

/// The connector of one Workspace.
#[derive(Clone)]
pub struct Connector {
    client: Client,
    namespace: String,
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
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
        Self { client, namespace: namespace.into(), labels: marks(workspace, &name), uid, name }
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
        let Some(found) = self.create(&secret).await? else { return Ok(true) };
        let kept = found.data.as_ref().and_then(|data| data.get(key));
        if kept.is_some_and(|kept| kept.0 == value.expose_secret().as_bytes()) {
            return Ok(false);
        }
        self.patch::<Secret>(&json!({"data": secret.data})).await?;
        Ok(true)
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

    /// Makes the NetworkPolicy and the Deployment so.
    ///
    /// # Errors
    /// The API server refuses, or one of them is somebody else's.
    pub async fn apply(
        &self,
        args: &Args,
        tunnel: &str,
        workspace: &Workspace,
        routes: &[Routed<'_>],
    ) -> Result<Deployment, Error> {
        self.make::<NetworkPolicy>(self.policy(workspace, routes)?).await?;
        self.make::<Deployment>(self.deployment(args, tunnel)).await
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
        object.labels().get(OWNER_UID) == Some(&self.uid)
    }

    /// Creates it; the one that is there, if there is one of ours.
    async fn create<K>(&self, object: &K) -> Result<Option<K>, Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        let parameters = PostParams { field_manager: Some(NAME.into()), ..PostParams::default() };
        match self.api::<K>().create(&parameters, object).await {
            Ok(_) => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(Error::Cluster("make a part of the connector", error)),
        }
        let found = self
            .api::<K>()
            .get(&self.name)
            .await
            .map_err(|error| Error::Cluster("read a part of the connector", error))?;
        if self.is_ours(&found) {
            Ok(Some(found))
        } else {
            Err(Error::NameTaken(format!("{}/{}", self.namespace, self.name)))
        }
    }

    /// Creates it, or patches the one that was rendered otherwise.
    async fn make<K>(&self, mut object: Map<String, Value>) -> Result<K, Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        let revision = h10(&[&json!(object).to_string()]);
        object.insert("metadata".into(), json!(self.metadata(Some(&revision))));
        let object = Value::Object(object);
        let wanted: K = serde_json::from_value(object.clone())
            .map_err(|error| Error::Cluster("render a part of the connector", kube::Error::SerdeError(error)))?;
        match self.create(&wanted).await? {
            None => Ok(wanted),
            Some(found) if found.annotations().get(REVISION) == Some(&revision) => Ok(found),
            Some(_) => self.patch(&object).await,
        }
    }

    async fn patch<K>(&self, patch: &Value) -> Result<K, Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let parameters = PatchParams { field_manager: Some(NAME.into()), ..PatchParams::default() };
        let patched = self.api::<K>().patch(&self.name, &parameters, &Patch::Merge(patch)).await;
        patched.map_err(|error| Error::Cluster("change a part of the connector", error))
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
            annotations: revision.map(|revision| BTreeMap::from([(REVISION.into(), revision.into())])),
            ..Default::default()
        }
    }

    fn selector(&self) -> Value {
        json!({labels::NAME: "connector", labels::WORKSPACE_UID: self.uid})
    }

    fn deployment(&self, args: &Args, tunnel: &str) -> Map<String, Value> {
        let container = json!({
            "name": "cloudflared", "image": args.connector_image,
            "args": [
                "tunnel", "--no-autoupdate", "--metrics", format!("0.0.0.0:{METRICS}"), "run",
                "--token-file", format!("/etc/tunnel/{TOKEN}"),
            ],
            "ports": [{"name": "metrics", "containerPort": METRICS, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "metrics"}, "periodSeconds": 2, "failureThreshold": 3},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "token", "mountPath": "/etc/tunnel", "readOnly": true}],
        });
        let apart = json!({
            "weight": 1,
            "podAffinityTerm": {"labelSelector": {"matchLabels": self.selector()}, "topologyKey": "kubernetes.io/hostname"},
        });
        object(
            "apps/v1",
            "Deployment",
            json!({
                "replicas": args.connector_replicas,
                "selector": {"matchLabels": self.selector()},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    // Another tunnel has another token, which is read once.
                    "metadata": {"labels": self.labels, "annotations": {"se.quencer.io/tunnel": tunnel}},
                    "spec": {
                        "automountServiceAccountToken": false, "enableServiceLinks": false,
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}},
                        "containers": [container],
                        "volumes": [{"name": "token", "secret": {
                            "secretName": self.name, "defaultMode": 0o440, "items": [{"key": TOKEN, "path": TOKEN}],
                        }}],
                    },
                },
            }),
        )
    }

    /// Out to the edge, to DNS, and to the pods of the routes; nothing comes in.
    fn policy(&self, workspace: &Workspace, routes: &[Routed<'_>]) -> Result<Map<String, Value>, Error> {
        let namespace = workspace.namespace().unwrap_or_default();
        let ports = |ports: &[(u16, &str)]| -> Value {
            ports.iter().map(|(port, protocol)| json!({"port": port, "protocol": protocol})).collect()
        };
        let mut egress = vec![
            json!({"ports": ports(&[(53, "UDP"), (53, "TCP")])}),
            json!({
                "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}}, {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}}],
                "ports": ports(&[(7844, "UDP"), (7844, "TCP"), (443, "TCP")]),
            }),
        ];
        for Routed { route, .. } in routes {
            let network = network(&workspace.spec, route)?;
            let port = network.target_port.as_ref().map_or_else(|| json!(network.port), |port| json!(port));
            egress.push(json!({
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "podSelector": {"matchLabels": {labels::WORKSPACE_UID: self.uid, labels::COMPONENT: route.component}},
                }],
                "ports": [{"port": port, "protocol": "TCP"}],
            }));
        }
        let spec = json!({
            "podSelector": {"matchLabels": self.selector()}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [], "egress": egress,
        });
        Ok(object("networking.k8s.io/v1", "NetworkPolicy", spec))
    }
}

/// An object that gets its metadata later.
fn object(version: &str, kind: &str, spec: Value) -> Map<String, Value> {
    let fields = [("apiVersion", json!(version)), ("kind", json!(kind)), ("spec", spec)];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How many connectors are ready, and what keeps the others.
#[must_use]
pub fn ready(deployment: &Deployment) -> (i32, Option<String>) {
    let status = deployment.status.as_ref();
    let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let why = conditions.filter(|condition| condition.status != "True" || condition.type_ == "ReplicaFailure");
    (ready, why.filter_map(|condition| condition.message.clone()).next())
}

fn marks(workspace: &Workspace, name: &str) -> BTreeMap<String, String> {
    let (workspace_name, namespace, uid) =
        (workspace.name_any(), workspace.namespace().unwrap_or_default(), workspace.uid().unwrap_or_default());
    let pairs = [
        (labels::MANAGED_BY, labels::SEQUENCER),
        (labels::NAME, "connector"),
        (labels::PART_OF, &workspace_name),
        (labels::INSTANCE, name),
        (labels::WORKSPACE, &workspace_name),
        (labels::WORKSPACE_NAMESPACE, &namespace),
        (labels::WORKSPACE_UID, &uid),
        ("se.quencer.io/owner-kind", "Workspace"),
        ("se.quencer.io/owner-namespace", &namespace),
        ("se.quencer.io/owner-name", &workspace_name),
        (OWNER_UID, &uid),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
