//! What happens to a preview besides edits of its spec: people change and delete its objects by hand,
//! here and at Cloudflare, services die, and messages are lost.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sequencer_api::{Build, Component, DNSRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::preview::Preview;
use crate::programs;
use crate::world::{RELEASE, TUNNELS, lose_messages};

macro_rules! deeds {
    ($($deed:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Deed { $($deed),* }

        const ALL: &[Deed] = &[$(Deed::$deed),*];
    };
}

deeds! {
    DeleteDeployment, DeleteJob, DeleteService, DeletePolicy, DeleteIngress, DeleteSecret, DeleteComponent, DeleteBuild,
    DeleteRecord, DeleteConnector, ImageByHand, TokenByHand, NoProbeByHand, NoEgressByHand, HostByHand, PortByHand, ReplicasByHand, LabelsByHand, OwnerByHand, Retry, Anew,
    TunnelOutside, RecordOutside, KillWatcher, KillDeployer, KillNetwork, LoseMessages,
}

impl Deed {
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        *ALL.choose(rng).unwrap_or(&Self::Retry)
    }

    /// Does it to one of what there is; `which` chooses.
    pub(crate) async fn happen(
        self,
        preview: &Preview<'_>,
        which: usize,
        spec: &Value,
    ) -> Result<()> {
        let world = preview.world;
        let client = || world.client.clone();
        let ours = preview.label().await?;
        let uid = preview.uid().await?;
        let one = One { ours, which };

        match self {
            Self::DeleteDeployment => one.delete(&preview.api::<Deployment>()).await,
            Self::DeleteJob => one.delete(&preview.api::<Job>()).await,
            Self::DeleteService => one.delete(&preview.api::<Service>()).await,
            Self::DeletePolicy => one.delete(&preview.api::<NetworkPolicy>()).await,
            Self::DeleteIngress => one.delete(&preview.api::<Ingress>()).await,
            Self::DeleteSecret => one.delete(&preview.api::<Secret>()).await,
            Self::DeleteComponent => one.delete(&preview.api::<Component>()).await,
            Self::DeleteBuild => one.delete(&preview.api::<Build>()).await,
            Self::DeleteRecord => {
                let records = Api::<DNSRecord>::namespaced(client(), RELEASE);
                one.delete(&records).await
            }
            Self::DeleteConnector => {
                let connectors = Api::<Deployment>::namespaced(client(), TUNNELS);
                one.delete(&connectors).await
            }
            Self::ImageByHand => {
                let image = replace("/spec/template/spec/containers/0/image", json!("nope:1"))?;
                one.change(&preview.api::<Deployment>(), &image).await
            }
            Self::TokenByHand => {
                let path = "/spec/template/spec/automountServiceAccountToken";
                let token = replace(path, json!(true))?;
                one.change(&preview.api::<Deployment>(), &token).await
            }
            Self::NoProbeByHand => {
                let probe = remove("/spec/template/spec/containers/0/readinessProbe")?;
                one.change(&preview.api::<Deployment>(), &probe).await
            }
            Self::NoEgressByHand => {
                let egress = remove("/spec/egress")?;
                one.change(&preview.api::<NetworkPolicy>(), &egress).await
            }
            Self::HostByHand => {
                let host = replace("/spec/rules/0/host", json!("elsewhere.example"))?;
                one.change(&preview.api::<Ingress>(), &host).await
            }
            Self::PortByHand => {
                let port = replace("/spec/ports/0/targetPort", json!(9))?;
                one.change(&preview.api::<Service>(), &port).await
            }
            Self::ReplicasByHand => {
                let replicas = json!({"spec": {"replicas": 3}});
                let replicas = Patch::Merge(replicas);
                one.change(&preview.api::<Component>(), &replicas).await
            }
            Self::LabelsByHand => {
                let labels =
                    json!({"metadata": {"labels": {"app.kubernetes.io/instance": "nope"}}});
                let labels = Patch::Merge(labels);
                one.change(&preview.api::<Component>(), &labels).await
            }
            Self::OwnerByHand => {
                let owners = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
                one.change(&preview.api::<Component>(), &owners).await
            }
            Self::Retry => preview.ask(&format!("again-{which}")).await,
            Self::Anew => {
                preview.remove().await?;
                preview.apply(spec).await.map(drop)
            }
            Self::TunnelOutside => world.outside.delete_tunnel(&uid).await,
            Self::RecordOutside => world.outside.change_record(&uid, which).await,
            Self::KillWatcher => world.programs.restart(programs::Service::Watcher).await,
            Self::KillDeployer => world.programs.restart(programs::Service::Deployer).await,
            Self::KillNetwork => world.programs.restart(programs::Service::Network).await,
            Self::LoseMessages => lose_messages(&world.nats).await,
        }
    }
}

/// One of what was made for a Workspace, if anything was.
struct One {
    /// A selector of all of it.
    ours: String,
    which: usize,
}

impl One {
    async fn name<K>(&self, api: &Api<K>) -> Result<Option<String>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let ours = ListParams::default().labels(&self.ours);
        let found = api.list_metadata(&ours).await?.items;
        let chosen = found.get(self.which % found.len().max(1));
        Ok(chosen.map(ResourceExt::name_any))
    }

    async fn delete<K>(&self, api: &Api<K>) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        match self.name(api).await? {
            Some(name) => there(api.delete(&name, &DeleteParams::background()).await),
            None => Ok(()),
        }
    }

    async fn change<K, P>(&self, api: &Api<K>, patch: &Patch<P>) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        P: Serialize + Debug,
    {
        match self.name(api).await? {
            Some(name) => there(api.patch(&name, &PatchParams::default(), patch).await),
            None => Ok(()),
        }
    }
}

fn replace(path: &str, value: Value) -> Result<Patch<()>> {
    let operation = json!([{"op": "replace", "path": path, "value": value}]);
    Ok(Patch::Json(serde_json::from_value(operation)?))
}

fn remove(path: &str) -> Result<Patch<()>> {
    let operation = json!([{"op": "remove", "path": path}]);
    Ok(Patch::Json(serde_json::from_value(operation)?))
}

/// It may have gone a moment ago, or have no such field.
fn there<T>(done: kube::Result<T>) -> Result<()> {
    match done {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 422) => Ok(()),
        done => done.map(drop).context("by hand"),
    }
}
