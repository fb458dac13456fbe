//! Workspaces by the hundred.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::Workspace;
use sequencer_api::condition::{ConditionType, holds};
use sequencer_api::names::Owner;
use serde_json::{Value, json};

use crate::Made;
use crate::bare::Samples;
use crate::follow::Followed;
use crate::place::{POOL, Place};

/// The components of each.
pub(crate) const COMPONENTS: usize = 3;

/// How many requests are under way at once: a script's, or a CI's.
pub(crate) const AT_ONCE: usize = 16;

/// Marks what the bench makes.
const OURS: &str = "bench.test/fleet";

/// What Sequencer makes for Workspaces has this label.
const MADE: &str = "se.quencer.io/workspace";

pub(crate) struct Fleet<'a> {
    client: &'a Client,
    place: &'a Place<'a>,
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(client: &'a Client, place: &'a Place<'a>) -> Self {
        Self { client, place }
    }

    /// Applies so many at once.
    pub(crate) async fn make(&self, count: usize) -> Result<Made> {
        let workspaces = self.follow();
        let deployments = self.deployments();
        let services = Followed::new(Api::<Service>::all(self.client.clone()), MADE, |_| true);
        let create = async {
            let created = stream::iter(0..count).map(|index| self.create(index));
            created.buffer_unordered(AT_ONCE).try_collect().await
        };
        let are_made = async {
            deployments.are_there(count * COMPONENTS).await?;
            services.are_there(count * COMPONENTS).await
        };
        Made::measure(self.place, create, are_made, workspaces.are_ready(count)).await
    }

    /// What was made for one of them.
    pub(crate) async fn samples(&self) -> Result<Samples> {
        let namespace = self.place.namespace(0);
        let workspace: Workspace = self.api(namespace).get(&name(0)).await?;
        let owner = Owner::of(&workspace);
        let made = ListParams::default().labels(&format!("{MADE}={}", owner.name));
        let (deployments, services, policies) = tokio::try_join!(
            async { self.api::<Deployment>(namespace).list(&made).await },
            async { self.api::<Service>(namespace).list(&made).await },
            async { self.api::<NetworkPolicy>(namespace).list(&made).await },
        )?;
        Samples::new(owner, deployments.items, services.items, policies.items)
    }

    /// Edits a component of some, one after the other: how long it takes until its Deployment is.
    pub(crate) async fn edit(&self, count: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for index in 0..count {
            let namespace = self.place.namespace(index);
            let workspaces: Api<Workspace> = self.api(namespace);
            let workspace = workspaces.get(&name(index)).await?;
            let component = Owner::of(&workspace).component("a");
            let deployments: Api<Deployment> = self.api(namespace);
            let before = deployments.get(&component).await?.metadata.generation;

            let path = "/spec/components/0/template/containers/0/env";
            let patch =
                json!([{"op": "add", "path": path, "value": [{"name": "EDIT", "value": "1"}]}]);
            let patch: json_patch::Patch = serde_json::from_value(patch)?;
            let begun = Instant::now();
            let params = PatchParams::default();
            workspaces
                .patch(&workspace.name_any(), &params, &Patch::Json::<()>(patch))
                .await?;
            while deployments.get(&component).await?.metadata.generation == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    /// Applies Workspaces of one component whose image is on the node already, one after the other:
    /// how long it takes until each is ready.
    pub(crate) async fn one_by_one(&self, count: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..=count {
            let workspaces = self.follow();
            let container =
                json!({"name": "a", "image": "redis:latest", "imagePullPolicy": "IfNotPresent"});
            let networks = json!([{"name": "tcp", "port": 6379}]);
            let component =
                json!({"name": "a", "networks": networks, "template": {"containers": [container]}});
            let begun = Instant::now();
            self.apply(0, json!([component])).await?;
            workspaces.are_ready(1).await?;
            times.push(begun.elapsed());
            self.clear().await?;
        }
        // The first may have pulled the image.
        times.remove(0);
        Ok(times)
    }

    /// Deletes all, and waits until nothing is left of them.
    pub(crate) async fn clear(&self) -> Result<()> {
        let (workspaces, deployments) = (self.follow(), self.deployments());
        let ours = ListParams::default().labels(OURS);
        for namespace in self.place.namespaces() {
            let api: Api<Workspace> = self.api(namespace);
            api.delete_collection(&DeleteParams::default(), &ours)
                .await?;
        }
        workspaces.are_there(0).await?;
        deployments.are_there(0).await?;
        pods(self.client).are_there(0).await
    }

    async fn create(&self, index: usize) -> Result<()> {
        let component = |name: &str, port: i32| {
            let container = json!({"name": name, "image": "there.is/none:1", "ports": [{"containerPort": port}]});
            let tolerations = json!([{"key": POOL, "operator": "Exists"}]);
            let pod = json!({"containers": [container], "nodeSelector": {POOL: "true"}, "tolerations": tolerations});
            json!({"name": name, "networks": [{"name": "tcp", "port": port}], "template": pod})
        };
        let components = json!([component("a", 1), component("b", 2), component("c", 3)]);
        self.apply(index, components).await
    }

    async fn apply(&self, index: usize, components: Value) -> Result<()> {
        let workspace = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace",
            "metadata": {"name": name(index), "labels": {OURS: "true"}}, "spec": {"components": components},
        });
        let api: Api<Workspace> = self.api(self.place.namespace(index));
        api.create(&PostParams::default(), &serde_json::from_value(workspace)?)
            .await?;
        Ok(())
    }

    fn follow(&self) -> Followed {
        let is_ready = |workspace: &Workspace| {
            let conditions = workspace.status.as_ref().map(|status| &status.conditions);
            conditions.is_some_and(|conditions| holds(conditions, ConditionType::Ready))
        };
        Followed::new(Api::<Workspace>::all(self.client.clone()), OURS, is_ready)
    }

    fn deployments(&self) -> Followed {
        Followed::new(
            Api::<Deployment>::all(self.client.clone()),
            MADE,
            is_available,
        )
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Every pod of the bench.
pub(crate) fn pods(client: &Client) -> Followed {
    Followed::new(Api::<Pod>::all(client.clone()), "", |_| true)
}

/// Whether all of a Deployment is there.
pub(crate) fn is_available(deployment: &Deployment) -> bool {
    let status = deployment.status.as_ref();
    status.and_then(|status| status.available_replicas) == Some(1)
}

fn name(index: usize) -> String {
    format!("fleet-{index:05}")
}
