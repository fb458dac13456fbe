//! A Service whose ports change while pods of two revisions serve.
//!
//! Kubernetes asks all pods of a Service at the same port. So it stays with those of the earlier
//! revision, by the label that their ReplicaSet gave them, until as many of the newer one are ready.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use sequencer_api::labels::{NETWORK, REVISION};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Object;
use super::service::PORT;

/// Tells the pods of a Deployment's revisions apart (Kubernetes, "Deployments", Pod-template-hash
/// label).
const HASH: &str = "pod-template-hash";

/// Where a Service has its ports, and the labels of its pods.
const PORTS: &str = "/spec/ports";
const SELECTOR: &str = "/spec/selector";

/// The most ports that a Service has.
const MOST: usize = 8;

/// The pods of a Component, by what their user wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serving {
    planned: Side,
    earlier: Side,
}

/// Pods that stay, and were made from the same.
#[derive(Clone, Debug, Default)]
struct Side {
    all: usize,
    ready: usize,
    /// How many ready ones there are of each hash.
    hashes: BTreeMap<String, usize>,
}

impl Serving {
    /// `revision` is the planned one, if that is known.
    pub(crate) fn of(pods: &[Pod], revision: Option<&String>) -> Self {
        let mut serving = Self::default();
        for pod in pods.iter().filter(|pod| stays(pod)) {
            let is_planned = revision.is_some() && pod.annotations().get(REVISION) == revision;
            let side = if is_planned {
                &mut serving.planned
            } else {
                &mut serving.earlier
            };
            let ready = usize::from(is_ready(pod));
            side.all += 1;
            side.ready += ready;
            if let Some(hash) = pod.labels().get(HASH) {
                *side.hashes.entry(hash.clone()).or_default() += ready;
            }
        }
        serving
    }

    fn has_turned(&self) -> bool {
        self.planned.ready > 0 && self.planned.ready >= self.earlier.ready
    }
}

impl Side {
    /// What most of them have.
    fn hash(&self) -> Option<&String> {
        let most = self.hashes.iter().max_by_key(|(_hash, ready)| **ready);
        most.map(|(hash, _ready)| hash)
    }
}

fn stays(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|found| found.type_ == "Ready" && found.status == "True")
}

/// The Service as it is now: as planned, unless pods of an earlier revision are there too. Then each
/// port that it had stays, and all lead to the pods that serve, at the port that these have.
pub(crate) fn service(
    planned: &Object,
    found: Option<&DynamicObject>,
    serving: &Serving,
) -> Object {
    let Some(found) = found.filter(|_found| serving.earlier.all > 0) else {
        return planned.clone();
    };
    let network = found.labels().get(NETWORK).map(String::as_str);
    let mut ports = of(&found.data);
    ports.retain(|port| is_ours(port, network));
    let wanted = of(&planned.body).into_iter().next();
    let (Some(wanted), Some(first)) = (wanted, ports.first().cloned()) else {
        return planned.clone();
    };

    let is_pinned = found.data.pointer(&format!("{SELECTOR}/{HASH}")).is_some();
    let (asked, pods) = if way(&first) == way(&wanted) && !is_pinned {
        (&wanted, None)
    } else if serving.has_turned() {
        (&wanted, serving.planned.hash())
    } else {
        (&first, serving.earlier.hash())
    };

    if ports.iter().all(|port| at(port) != at(&wanted)) {
        let is_free = ports.iter().all(|port| port.name.as_deref() != Some(PORT));
        let name = if is_free { PORT.into() } else { name(&wanted) };
        ports.insert(
            0,
            ServicePort {
                name: Some(name),
                ..wanted.clone()
            },
        );
    }
    ports.truncate(MOST);
    for port in &mut ports {
        port.target_port = asked.target_port.clone();
        port.app_protocol = asked.app_protocol.clone();
        port.node_port = None;
    }
    if pods.is_none() && json!(ports) == json!([wanted]) {
        return planned.clone();
    }

    let object = planned.with(PORTS, json!(ports));
    let selector = object.body.pointer(SELECTOR).cloned();
    match (selector, pods) {
        (Some(Value::Object(mut selector)), Some(hash)) => {
            selector.insert(HASH.into(), json!(hash));
            object.with(SELECTOR, Value::Object(selector))
        }
        _ => object,
    }
}

/// Where the ports of a Service lead to.
pub(crate) fn targets(found: &DynamicObject) -> Vec<IntOrString> {
    let ports = of(&found.data).into_iter();
    ports.filter_map(|port| port.target_port).collect()
}

/// The ports of a Service.
fn of(service: &Value) -> Vec<ServicePort> {
    let ports = service.pointer(PORTS);
    let ports = ports.map(Vec::<ServicePort>::deserialize);
    ports.and_then(Result::ok).unwrap_or_default()
}

/// How pods are asked.
fn way(port: &ServicePort) -> (Option<&IntOrString>, Option<&String>) {
    (port.target_port.as_ref(), port.app_protocol.as_ref())
}

/// Number and protocol: a Service has no two ports of the same.
fn at(port: &ServicePort) -> (i32, &str) {
    (port.port, port.protocol.as_deref().unwrap_or("TCP"))
}

/// The name of a port beside the one that is called [`PORT`].
fn name(port: &ServicePort) -> String {
    let (number, protocol) = at(port);
    format!("{PORT}-{number}-{}", protocol.to_ascii_lowercase())
}

/// Whether a port was planned once. Earlier versions gave it the network's name.
fn is_ours(port: &ServicePort, network: Option<&str>) -> bool {
    let found = port.name.as_deref();
    found == Some(PORT) || found == Some(&name(port)) || (found.is_some() && found == network)
}

#[cfg(test)]
mod tests;
