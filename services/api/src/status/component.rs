//! What the services record of a Component.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Failure, Section, status_section};
use crate::condition::{ConditionType, Expected};

/// `Component.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Counts the watcher's writes.
    #[serde(default)]
    pub rev: i64,
    /// The generation that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One word for people; no program reads it.
    #[serde(default)]
    pub phase: ComponentPhase,
    /// The conditions.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The Build of the newest commit.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_build: Option<String>,
    /// The commits, by the builder.
    #[serde(default)]
    pub source: SourceSection,
    /// What runs, by the deployer.
    #[serde(default)]
    pub deploy: DeploySection,
}

/// One word for a Component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ComponentPhase {
    /// Not everything of it is ready yet.
    #[default]
    Deploying,
    /// Ready.
    Healthy,
    /// Its Job is done.
    Completed,
    /// Failed.
    Error,
    /// Being deleted.
    Terminating,
}

/// `Component.status.source`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The commit of each import.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<SourceImport>,
    /// A newer commit that is not rolled out, with the update mode Pin.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<String>,
    /// When a branch moved last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
}

/// An import and its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SourceImport {
    /// The folder.
    #[schemars(length(max = 256))]
    pub path: String,
    /// The repository.
    #[schemars(length(max = 512))]
    pub url: String,
    /// What was asked for.
    #[schemars(length(max = 250))]
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What it is.
    #[schemars(length(max = 64))]
    pub commit: String,
    /// The first line of the commit's message.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// `Component.status.deploy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploySection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// `Deployment` or `Job`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its Services.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<DeployedService>,
    /// The Build that serves.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The commit that serves.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The images that serve.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<DeployedImage>,
    /// How many pods are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many pods are ready, of whatever revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The hash of the rendered template that was started; none while it is held back.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What was taken from elsewhere in the Workspace, as a hash.
    #[schemars(length(max = 10))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
    /// The image that a pod waits for.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulling: Option<String>,
    /// What a probe says of a container that is not ready yet.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// What it waits for.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<WaitingFor>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A Service of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct DeployedService {
    /// The network.
    #[schemars(length(max = 15))]
    pub network: String,
    /// The Service's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Where others find it.
    #[schemars(length(max = 253))]
    pub host: String,
    /// At which port.
    pub port: i32,
}

/// An image of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct DeployedImage {
    /// The container.
    #[schemars(length(max = 63))]
    pub container: String,
    /// The image.
    #[schemars(length(max = 512))]
    pub image: String,
}

/// A condition of another component that does not hold yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    /// The other component.
    #[schemars(length(max = 20))]
    pub component_name: String,
    /// Its condition.
    pub condition_type: ConditionType,
    /// What is waited for.
    pub condition_status: Expected,
    /// What it is now.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

status_section!(SourceSection, crate::Component, source);
status_section!(DeploySection, crate::Component, deploy);
