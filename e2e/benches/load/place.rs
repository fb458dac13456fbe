//! Where fleets are: namespaces of their own, nodes of KWOK, and Sequencer as people install it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use lab::cluster::Cluster;
use lab::cpu;
use lab::parts::kwok;
use serde_json::{Value, json};

use crate::usage::PROCESSES;

/// So many Workspaces are in each namespace: the chart allows no more.
const EACH: usize = 50;

/// How many nodes the pods are spread over.
const NODES: usize = 4;

/// The label of the nodes, and their taint.
pub(crate) const POOL: &str = "bench";

/// The label of the chart's pods.
const PART: &str = "se.quencer.io/part";

/// The program of each service in its image.
const PROGRAM: &str = "service";

/// What the lab changes so that tests wait less, and people do not.
const LABS_OWN: &str = "periods";

pub(crate) struct Place<'a> {
    lab: &'a Cluster,
    client: &'a Client,
    namespaces: Vec<String>,
}

impl<'a> Place<'a> {
    /// Makes room for so many Workspaces.
    pub(crate) async fn prepare(
        lab: &'a Cluster,
        client: &'a Client,
        count: usize,
    ) -> Result<Self> {
        as_people_have_it(lab)?;

        for index in 0..NODES {
            let node = json!({
                "metadata": {
                    "name": format!("{POOL}-{index}"), "labels": {POOL: "true"},
                    "annotations": {kwok::ANNOTATION: "fake"},
                },
                "spec": {"taints": [{"key": POOL, "effect": "NoSchedule"}]},
            });
            create(&Api::<Node>::all(client.clone()), node).await?;
        }

        let namespaces = (0..count.div_ceil(EACH)).map(|index| format!("{POOL}-{index}"));
        let namespaces: Vec<_> = namespaces.collect();
        for name in &namespaces {
            let namespace = json!({"metadata": {"name": name}});
            create(&Api::<Namespace>::all(client.clone()), namespace).await?;
        }

        Ok(Self {
            lab,
            client,
            namespaces,
        })
    }

    /// Takes all of it away.
    pub(crate) async fn leave(&self) -> Result<()> {
        let gone = DeleteParams::default();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let deleted = stream::iter(&self.namespaces).map(|name| namespaces.delete(name, &gone));
        deleted
            .buffer_unordered(8)
            .try_for_each(async |_| Ok(()))
            .await?;

        let nodes = Api::<Node>::all(self.client.clone());
        for index in 0..NODES {
            nodes.delete(&format!("{POOL}-{index}"), &gone).await?;
        }
        self.lab.install_chart(&self.lab.installed_values())
    }

    pub(crate) fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// The namespace of one of many.
    pub(crate) fn namespace(&self, index: usize) -> &str {
        let at = index / EACH;
        self.namespaces.get(at).map_or("default", String::as_str)
    }

    /// The processes of every name on both nodes: those of a part of the chart by their pods, since
    /// the programs of all services are called the same.
    pub(crate) async fn processes(&self) -> Result<BTreeMap<&'static str, Vec<i32>>> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let pods = pods.list(&ListParams::default().labels(PART)).await?.items;
        let nodes = [&self.lab.general, &self.lab.builds].into_iter();
        let roots: Vec<_> = nodes.filter_map(|node| node.supervisor.pid()).collect();
        let below = |name: &str| -> Vec<i32> {
            let found = roots.iter().map(|root| cpu::named_below(*root, name));
            found.flatten().collect()
        };

        let of = |name: &'static str| {
            let pods = pods
                .iter()
                .filter(|pod| pod.labels().get(PART).is_some_and(|part| part == name));
            let uids: Vec<_> = pods.filter_map(ResourceExt::uid).collect();
            let is_of_pod = |pid: &i32| {
                let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
                cgroup.is_ok_and(|cgroup| uids.iter().any(|uid| cgroup.contains(uid)))
            };
            let services = below(PROGRAM).into_iter().filter(is_of_pod);
            let processes: BTreeSet<_> = below(name).into_iter().chain(services).collect();
            (name, processes.into_iter().collect())
        };
        Ok(PROCESSES.into_iter().map(of).collect())
    }
}

/// What is there from a bench that was interrupted will do.
async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    match api
        .create(&PostParams::default(), &serde_json::from_value(object)?)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => Ok(made.map(drop)?),
    }
}

fn as_people_have_it(lab: &Cluster) -> Result<()> {
    let installed = std::fs::read_to_string(lab.installed_values())?;
    let mut values: serde_yaml::Value = serde_yaml::from_str(&installed)?;
    if let Some(values) = values.as_mapping_mut() {
        values.remove(LABS_OWN);
    }
    let file = lab.layout.etc().join("bench-values.yaml");
    std::fs::write(&file, serde_yaml::to_string(&values)?)?;
    lab.install_chart(&lab::layout::text(file))
}
