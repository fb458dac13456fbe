//! A bare client that makes what Sequencer makes, without Sequencer.

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use sequencer_api::names::Owner;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::Made;
use crate::fleet::{AT_ONCE, COMPONENTS, is_available, pods};
use crate::follow::Followed;
use crate::place::Place;

/// What the keys of Sequencer's labels begin with, and what they begin with here: it takes no
/// notice of these.
const KEYS: [&str; 2] = ["se.quencer.io/", "bare.bench.test/"];

/// The label of what is made here.
const MADE: &str = "bare.bench.test/workspace";

/// The objects of one Workspace.
pub(crate) struct Samples {
    name: String,
    uid: String,
    deployments: Vec<Value>,
    services: Vec<Value>,
    policies: Vec<Value>,
}

impl Samples {
    pub(crate) fn new(
        owner: Owner<'_>,
        deployments: Vec<Deployment>,
        services: Vec<Service>,
        policies: Vec<NetworkPolicy>,
    ) -> Result<Self> {
        Ok(Self {
            name: owner.name.into(),
            uid: owner.uid.into(),
            deployments: plain(deployments)?,
            services: plain(services)?,
            policies: plain(policies)?,
        })
    }

    /// The same object for another Workspace.
    fn of<K: DeserializeOwned>(&self, sample: &Value, name: &str, uid: &str) -> Result<K> {
        let [ours, bare] = KEYS;
        let text = sample.to_string().replace(ours, bare);
        let text = text.replace(&self.name, name).replace(&self.uid, uid);
        Ok(serde_json::from_str(&text)?)
    }
}

/// Objects as somebody writes them.
fn plain<K: Serialize>(objects: Vec<K>) -> Result<Vec<Value>> {
    let plain = |object: K| {
        let mut object = serde_json::to_value(object)?;
        let fields = object.as_object_mut().context("no object")?;
        fields.remove("status");
        if let Some(Value::Object(spec)) = fields.get_mut("spec") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }

        let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.context("no metadata")?;
        metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
        Ok(object)
    };
    objects.into_iter().map(plain).collect()
}

/// Makes what so many Workspaces have, and takes it away again.
pub(crate) async fn make(
    client: &Client,
    place: &Place<'_>,
    samples: &Samples,
    count: usize,
) -> Result<Made> {
    let deployments = Followed::new(Api::<Deployment>::all(client.clone()), MADE, is_available);
    let services = Followed::new(Api::<Service>::all(client.clone()), MADE, |_| true);

    let create = async {
        let created = stream::iter(0..count).map(async |index| {
            let (name, uid) = (format!("bare-{index:06}"), Uuid::new_v4().to_string());
            let namespace = place.namespace(index);
            for sample in &samples.policies {
                create::<NetworkPolicy>(client, namespace, samples.of(sample, &name, &uid)?)
                    .await?;
            }
            for sample in &samples.services {
                create::<Service>(client, namespace, samples.of(sample, &name, &uid)?).await?;
            }
            for sample in &samples.deployments {
                create::<Deployment>(client, namespace, samples.of(sample, &name, &uid)?).await?;
            }
            anyhow::Ok(())
        });
        created.buffer_unordered(AT_ONCE).try_collect().await
    };
    let are_made = async {
        deployments.are_there(count * COMPONENTS).await?;
        services.are_there(count * COMPONENTS).await
    };
    let made = Made::measure(
        place,
        create,
        are_made,
        deployments.are_ready(count * COMPONENTS),
    );
    let made = made.await?;

    for namespace in place.namespaces() {
        clear::<Deployment>(client, namespace).await?;
        clear::<NetworkPolicy>(client, namespace).await?;
        clear::<Service>(client, namespace).await?;
    }
    deployments.are_there(0).await?;
    pods(client).are_there(0).await?;
    Ok(made)
}

async fn create<K>(client: &Client, namespace: &str, object: K) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn clear<K>(client: &Client, namespace: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let made = ListParams::default().labels(MADE);
    api.delete_collection(&DeleteParams::background(), &made)
        .await?;
    Ok(())
}
