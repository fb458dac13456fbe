//! What the services record of a Workspace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Failure, Section, status_section};
use crate::code::Code;
// `Reason` alone is kube's own where the derive of schemas stands.
use crate::condition::{self, Status};
use crate::object_ref::ObjectRef;
use crate::secret::SecretRef;

/// `Workspace.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceStatus {
    /// Counts the watcher's writes.
    #[serde(default)]
    pub rev: i64,
    /// The generation that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One word for people; no program reads it.
    #[serde(default)]
    pub phase: WorkspacePhase,
    /// The conditions.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The host, known at once.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The URL of the first route, once it was proven to answer.
    #[schemars(length(max = 528))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The commit behind the route, 12 characters; `a=...,b=...` for several builds.
    #[schemars(length(max = 1088))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When it is deleted: when its ttl is over, and people do not keep it longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When its ttl is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ends_at: Option<Time>,
    /// How many components are ready, and of how many: `2/3`.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components_ready: Option<String>,
    /// Each component in a line.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentLine>,
    /// How long the stages of the last roll-out took.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["stage".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<Timing>,
    /// The tunnel, by the network service.
    #[serde(default)]
    pub tunnel: TunnelSection,
    /// The probe by the public way, by the network service.
    #[serde(default)]
    pub route: RouteSection,
    /// The Ingress or HTTPRoute, by the deployer.
    #[serde(default)]
    pub ingress: IngressSection,
    /// What is left to delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown: Option<Teardown>,
}

impl WorkspaceStatus {
    /// Whether the URL that answered before does not answer as it should any more.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.url.is_some() && self.route.section.retry.is_some()
    }
}

/// One word for a Workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkspacePhase {
    /// Not all is ready.
    #[default]
    Deploying,
    /// All is ready.
    Healthy,
    /// Something failed.
    Error,
    /// Being deleted.
    Terminating,
}

/// A component as its Workspace shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ComponentLine {
    /// The component's name.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Its Ready condition's status.
    pub ready: Status,
    /// Its Ready condition's reason.
    pub reason: condition::Reason,
    /// Its Ready condition's message.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The commit that serves.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The image that serves.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// A stage of a roll-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Which stage it is.
    pub stage: Stage,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}

/// A stage of a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// Branch to commit.
    Source,
    /// Waiting for a builder.
    Queue,
    /// Building.
    Build,
    /// Publishing.
    Publish,
    /// Rolling out.
    Deploy,
    /// Making the tunnel.
    Tunnel,
    /// Making the ingress.
    Ingress,
    /// Making the records.
    #[serde(rename = "DNS")]
    Dns,
    /// Probing.
    Route,
}

/// An effect outside the cluster, written down before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelIntent {
    /// The provider.
    #[schemars(length(max = 63))]
    pub provider: String,
    /// The account at the provider.
    #[schemars(length(max = 64))]
    pub account_id: String,
    /// By which name it is found again.
    #[schemars(length(max = 128))]
    pub name: String,
    /// The copy of the credential that deletion uses.
    pub credential_ref: SecretRef,
    /// When the intent was recorded.
    pub at: Time,
}

/// `Workspace.status.tunnel`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The provider.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The account at the provider.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The id that the provider gave the tunnel.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tunnel's name.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What records point to.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The connector's Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ObjectRef>,
    /// The copy of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<SecretRef>,
    /// What was begun and not yet seen gone.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<TunnelIntent>,
}

/// `Workspace.status.route`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct RouteSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// What was found, by rule.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RouteRule>,
    /// The commit that served when every URL answered last.
    #[schemars(length(max = 1088))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteRule {
    /// The rule's name.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Its host.
    #[schemars(length(max = 253))]
    pub host: String,
    /// Its path.
    #[schemars(length(max = 256))]
    pub path: String,
    /// Its URL.
    #[schemars(length(max = 528))]
    pub url: String,
    /// The status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i32>,
    /// Why there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// `Workspace.status.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// `Ingress` or `HTTPRoute`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its class.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Where it is reached.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// What it serves.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ServedRule>,
    /// The certificate's Secret.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Address {
    /// An IPv4 or IPv6 address.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// A host name, where the load balancer has no address.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// A rule as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ServedRule {
    /// The rule's name.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Its host.
    #[schemars(length(max = 253))]
    pub host: String,
    /// Its path.
    #[schemars(length(max = 256))]
    pub path: String,
    /// The Service behind it.
    #[schemars(length(max = 63))]
    pub service: String,
    /// The Service's port.
    pub port: i32,
}

/// `Workspace.status.teardown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Teardown {
    /// What is being deleted.
    #[schemars(length(max = 16))]
    pub stage: String,
    /// When deletion began.
    pub started_at: Time,
    /// What is still there.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<Remaining>,
}

/// Something that is not deleted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Remaining {
    /// The kind of thing.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// The provider that has it; the cluster if absent.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The error's code, `E#nnnn`, if one holds it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

status_section!(TunnelSection, crate::Workspace, tunnel);
status_section!(RouteSection, crate::Workspace, route);
status_section!(IngressSection, crate::Workspace, ingress);
