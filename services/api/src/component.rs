//! `Component`: one part of an application, running.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::build::BuildSpec;
use crate::condition::{ConditionType, Expected};
use crate::pattern::DURATION;
use crate::status::component::ComponentStatus;

/// One part of an application: a template of pods, the networks that it serves, what it waits for,
/// and the image that it is built from.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "se.quencer.io",
    version = "v1alpha1",
    kind = "Component",
    plural = "components",
    shortname = "comp",
    category = "sequencer",
    namespaced,
    status = "ComponentStatus",
    doc = "One part of an application, running as a Deployment or a Job.",
    printcolumn(name = "Component", type_ = "string", json_path = ".spec.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Workspace",
        type_ = "string",
        json_path = ".metadata.labels['se\\.quencer\\.io/workspace']"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.deploy.readyReplicas",
        priority = 1
    ),
    printcolumn(
        name = "Commit",
        type_ = "string",
        json_path = ".status.deploy.commit",
        priority = 1
    ),
    printcolumn(
        name = "Build",
        type_ = "string",
        json_path = ".status.latestBuild",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ComponentSpec {
    /// What is common to a Component of its own and one in a Workspace.
    #[serde(flatten)]
    pub template: ComponentTemplate,
    /// Which commits are rolled out.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// No new build, roll-out or poll; what runs stays up.
    #[serde(default)]
    pub paused: bool,
}

/// A Component as a Workspace lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.dependsOn) || self.dependsOn.all(d, d.componentName != self.name)")
        .message("E#6009 dependsOn: a component cannot wait for itself"),
    validation = Rule::new("!has(self.template.restartPolicy) || self.template.restartPolicy == 'Always' || (self.replicas == 1 && !has(self.strategy) && self.progressDeadlineSeconds == 600)")
        .message("E#6019 replicas, strategy and progressDeadlineSeconds: a Job has none")
)]
pub struct ComponentTemplate {
    /// The name in variables, dependsOn and routes.
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// How many pods run at once; 1 if absent.
    #[schemars(range(min = 0, max = 10))]
    #[serde(default = "one")]
    pub replicas: i32,
    /// How pods are replaced (apps/v1 DeploymentStrategy); the new are ready before the old go, if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<DeploymentStrategy>,
    /// How many seconds a roll-out may make no progress.
    #[schemars(range(min = 30, max = 3600))]
    #[serde(default = "ten_minutes")]
    pub progress_deadline_seconds: i32,
    /// How many Builds are kept beside the serving one, to roll back to.
    #[schemars(range(min = 1, max = 10))]
    #[serde(default = "three")]
    pub build_history_limit: i32,
    /// Labels and annotations of the pods.
    #[serde(default)]
    pub pod_metadata: PodMetadata,
    /// The pods (core/v1 PodSpec).
    pub template: PodSpec,
    /// Claims mounted by name, as in a StatefulSet; they go with the Component.
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_claim_templates: Vec<PersistentVolumeClaim>,
    /// What it serves; a Service each.
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))")
            .message("E#6005 networks: names must differ by more than upper and lower case")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// What must hold before a new revision starts.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["componentName".into(), "conditionType".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<DependsOn>,
    /// The image that it is built from; every component of the Workspace may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildSpec>,
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}

fn ten_minutes() -> i32 {
    600
}

/// Which commits are rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct UpdatePolicy {
    /// Whether new commits are.
    #[serde(default)]
    pub mode: UpdateMode,
    /// How often a branch is polled: a duration like `1m`.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5s') && duration(self) <= duration('24h')")
        .message("E#6067 interval: from 5s to 24h"))]
    #[serde(default = "a_minute")]
    pub interval: String,
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            mode: UpdateMode::default(),
            interval: a_minute(),
        }
    }
}

fn a_minute() -> String {
    "1m".into()
}

/// Whether new commits are rolled out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateMode {
    /// Each new commit is.
    #[default]
    Follow,
    /// The commits first resolved stay; a newer one only shows in status.
    Pin,
}

/// Labels and annotations of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct PodMetadata {
    /// Labels; not ours and not `app.kubernetes.io/*`.
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = Rule::new(OWN_KEYS_RULE)
        .message("E#6068 labels: app.kubernetes.io/* and se.quencer.io/* are the operator's own"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; not ours and not `app.kubernetes.io/*`.
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = Rule::new(OWN_KEYS_RULE)
        .message("E#6068 annotations: app.kubernetes.io/* and se.quencer.io/* are the operator's own"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Keys that are not the operator's own.
const OWN_KEYS_RULE: &str =
    "self.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('se.quencer.io/'))";

/// A port that a component serves to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// The name in variables and routes.
    #[schemars(
        length(min = 1, max = 15),
        regex(pattern = r"^[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?$")
    )]
    pub name: String,
    /// The port that other components and routes use.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The container's port, by number or name; the same as `port` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// The transport protocol; TCP if absent.
    #[serde(default)]
    pub protocol: Protocol,
    /// As in core/v1 ServicePort.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

impl Network {
    /// Returns the port of the pods.
    #[must_use]
    pub fn target_port(&self) -> IntOrString {
        let port = self.target_port.clone();
        port.unwrap_or(IntOrString::Int(self.port))
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What another component must have reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependsOn {
    /// The name of the component that is waited for.
    #[schemars(length(min = 1, max = 20))]
    pub component_name: String,
    /// The condition of that component; Ready if absent.
    #[schemars(schema_with = "conditions_of_components")]
    #[serde(default = "ready")]
    pub condition_type: ConditionType,
    /// The condition's status or reason; `Error` is the reason of any code.
    #[x_kube(validation = Rule::new(Expected::rule())
        .message("E#6012 conditionStatus: True, False, Unknown, or a reason like Healthy or Completed"))]
    #[serde(default)]
    pub condition_status: Expected,
}

fn ready() -> ConditionType {
    ConditionType::Ready
}

fn conditions_of_components(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ConditionType::OF_COMPONENT})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_refused_every_key_that_is_reserved() {
        for prefix in crate::labels::RESERVED {
            assert!(
                OWN_KEYS_RULE.contains(&format!("!k.startsWith('{prefix}')")),
                "{prefix}"
            );
        }
    }
}
