//! The connector's objects as they shall be. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use sequencer_api::names::Owner;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Workspace, labels, private};
use sequencer_runtime::apply::Object;
use serde_json::{Value, json};

use crate::args::Args;
use crate::tunnel::tunnelled;

/// The key of the token, the only one that the pod mounts.
pub const TOKEN: &str = "token";

/// Where the connector says whether it is connected.
const METRICS: u16 = 20241;

/// Where the objects of a connector are, and whose they are.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The Workspace's uid.
    pub(super) uid: String,
    labels: BTreeMap<String, String>,
}

impl Identity {
    pub(super) fn new(namespace: &str, workspace: &Workspace) -> Self {
        let name = Owner::of(workspace).connector();

        Self {
            namespace: namespace.into(),
            labels: marks(workspace, &name),
            uid: workspace.uid_str().into(),
            name,
        }
    }

    pub(super) fn metadata(&self) -> Value {
        json!({"name": self.name, "namespace": self.namespace, "labels": self.labels})
    }

    fn selector(&self) -> Value {
        json!({labels::NAME: "connector", labels::WORKSPACE_UID: self.uid})
    }

    pub(super) fn deployment(&self, args: &Args, tunnel: &str) -> Object {
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
        Object::new::<Deployment>(json!({
            "metadata": self.metadata(),
            "spec": {
                "replicas": args.connector_replicas,
                "selector": {"matchLabels": self.selector()},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    // Another tunnel has another token, which is read once.
                    "metadata": {"labels": self.labels, "annotations": {labels::TUNNEL: tunnel}},
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
            },
        }))
    }

    /// Out to the edge, to DNS, and to the pods of the routes; nothing comes in.
    pub(super) fn policy(&self, workspace: &Workspace) -> Object {
        let namespace = workspace.namespace_str();
        let ports = |ports: &[(u16, &str)]| -> Value {
            ports
                .iter()
                .map(|(port, protocol)| json!({"port": port, "protocol": protocol}))
                .collect()
        };
        let mut egress = vec![
            // OpenShift's name servers listen on 5353: policies are about the ports of pods.
            json!({"ports": ports(&[(53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP")])}),
            json!({
                // Not Cloudflare's edge: whoever re-points the route does not reach the cluster.
                "to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": private::IPV4}},
                    {"ipBlock": {"cidr": "::/0", "except": private::IPV6}},
                ],
                "ports": ports(&[(7844, "UDP"), (7844, "TCP"), (443, "TCP")]),
            }),
        ];
        for (routed, _) in tunnelled(workspace) {
            // Which ports, their own policy says: while they are rolled out, the old and the new.
            let pods = json!({
                "to": [{
                    "namespaceSelector": {"matchLabels": {labels::NAMESPACE_NAME: namespace}},
                    "podSelector": {"matchLabels": {labels::WORKSPACE_UID: self.uid, labels::COMPONENT: routed.component}},
                }],
                "ports": [{"protocol": "TCP"}],
            });
            if !egress.contains(&pods) {
                egress.push(pods);
            }
        }
        let spec = json!({
            "podSelector": {"matchLabels": self.selector()}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [], "egress": egress,
        });
        Object::new::<NetworkPolicy>(json!({
            "metadata": self.metadata(),
            "spec": spec,
        }))
    }
}

/// How many connectors are ready, and what keeps the others.
#[must_use]
pub fn ready(deployment: &Deployment) -> (i32, Option<String>) {
    let status = deployment.status.as_ref();
    let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let why = conditions
        .filter(|condition| condition.status != "True" || condition.type_ == "ReplicaFailure");

    (
        ready,
        why.filter_map(|condition| condition.message.clone()).next(),
    )
}

fn marks(workspace: &Workspace, name: &str) -> BTreeMap<String, String> {
    let (owner, namespace) = (Owner::of(workspace), workspace.namespace_str());
    let mut marks = labels::made_for(owner, namespace);
    marks.extend(labels::map([
        (labels::NAME, "connector"),
        (labels::INSTANCE, name),
        (labels::OWNER_KIND, "Workspace"),
        (labels::OWNER_NAMESPACE, namespace),
        (labels::OWNER_NAME, owner.name),
        (labels::OWNER_UID, owner.uid),
    ]));
    marks
}
