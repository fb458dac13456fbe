//! What the services record. A section has exactly one writing service; the conditions are the watcher's, derived from the
//! sections. The schema gives every section its default, so that nothing is written only to say that nothing happened.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::SecretRef;

/// What every section begins with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Counts the writes of this section: each write tests it, so that none is lost.
    #[serde(default)]
    pub rev: i64,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The generation that it was recorded for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Who works on it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What failed last, and when it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Where a section stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Not looked at yet.
    Pending,
    /// Held back by something that it names.
    Waiting,
    /// Under way.
    InProgress,
    /// Done.
    Completed,
    /// Running.
    Healthy,
    /// Failed.
    Error,
    /// Going.
    Deleting,
    /// Gone.
    Gone,
}

/// The right to work on a section for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Claim {
    /// `<pod>/<process nonce>`.
    #[schemars(length(max = 320))]
    pub holder: String,
    /// Until when, unless it is renewed.
    pub until: Time,
    /// Claims in a row that ended without a record.
    #[serde(default)]
    pub attempts: i32,
}

/// A failure that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often it failed in a row.
    pub attempts: i32,
    /// When it is tried again.
    pub next_attempt_at: Time,
    /// The error's code, `E#nnnn`.
    #[schemars(length(max = 8))]
    pub code: String,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The Secrets that may be the cause, with their versions: a change is tried at once.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_versions: BTreeMap<String, String>,
}

/// What failed, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The error's code, `E#nnnn`.
    #[schemars(length(max = 8))]
    pub code: String,
    /// A word for it, as Kubernetes or a provider says it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The container.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The build's step.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The Dockerfile's line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<i32>,
    /// The process's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines of the log, with known secret values masked.
    #[schemars(length(max = 20), inner(length(max = 200)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

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
    /// The URL, once it was proven to answer.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The commit behind the route, 12 characters; `a=...,b=...` for several builds.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When the ttl ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// `<ready>/<all>`.
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
    #[schemars(length(max = 8))]
    pub ready: String,
    /// Its Ready condition's reason.
    #[schemars(length(max = 32))]
    pub reason: String,
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
    /// Which.
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
    /// Where.
    #[schemars(length(max = 63))]
    pub provider: String,
    /// In which account.
    #[schemars(length(max = 64))]
    pub account_id: String,
    /// By which name it is found again.
    #[schemars(length(max = 128))]
    pub name: String,
    /// The copy of the credential that deletion uses.
    pub credential_ref: SecretRef,
    /// When.
    pub at: Time,
}

/// `Workspace.status.tunnel`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// Where.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// In which account.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The provider's id.
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
    pub connector: Option<SecretRef>,
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
    #[schemars(length(max = 512))]
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
    /// By number.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// By name.
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
    /// Since when.
    pub started_at: Time,
    /// What is left.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<Remaining>,
}

/// Something that is not deleted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Remaining {
    /// What it is.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Where it is.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The error's code, `E#nnnn`, if one holds it up.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

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
    /// Not ready.
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
    /// How many pods of the current revision are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The hash of the rendered template.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
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
    #[schemars(length(max = 32))]
    pub condition_type: String,
    /// What is waited for.
    #[schemars(length(max = 32))]
    pub condition_status: String,
    /// What it is now.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

/// `Build.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildStatus {
    /// Counts the watcher's writes.
    #[serde(default)]
    pub rev: i64,
    /// The generation that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One word for people; no program reads it.
    #[serde(default)]
    pub phase: BuildPhase,
    /// The conditions.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The image in the staging registry, by the builder.
    #[serde(default)]
    pub image: ImageSection,
    /// The published image, by the registry-pusher.
    #[serde(default)]
    pub publish: PublishSection,
}

/// One word for a Build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BuildPhase {
    /// Waiting for a builder.
    #[default]
    Queued,
    /// Building.
    Building,
    /// Publishing.
    Publishing,
    /// Published.
    Completed,
    /// Failed.
    Error,
    /// A newer commit took its place.
    Superseded,
    /// Being deleted.
    Terminating,
}

/// `Build.status.image`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The pool.
    #[schemars(length(max = 40))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// How many Builds are before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i32>,
    /// The builder's pod.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// The commits that it was built from.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceImport>,
    /// The content key: the same inputs give the same.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The Build whose image was taken.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<String>,
    /// The image's digest.
    #[schemars(length(max = 80))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The manifest's media type.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Bytes of all layers, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// The platforms.
    #[schemars(length(max = 4), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Where it is staged.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
    /// `<steps that came from a cache>/<all steps>`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_steps: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// The subject of its live log.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// `Build.status.publish`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct PublishSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The image by digest in the first registry.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Each registry.
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<PublishedTo>,
    /// Tags that were begun and not yet seen gone.
    #[schemars(length(max = 72))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<TagIntent>,
}

/// A registry and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedTo {
    /// As the spec names it.
    #[schemars(length(max = 255))]
    pub url: String,
    /// With its host.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Where it stands.
    pub state: State,
    /// The tags that point to the digest.
    #[schemars(length(max = 9), inner(length(max = 128)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The digest, as the registry answers it.
    #[schemars(length(max = 80))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes that were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A tag, written down before it is pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct TagIntent {
    /// The repository.
    #[schemars(length(max = 512))]
    pub repository: String,
    /// The tag.
    #[schemars(length(max = 128))]
    pub tag: String,
    /// The digest.
    #[schemars(length(max = 80))]
    pub digest: String,
}

/// `DNSRecord.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DNSRecordStatus {
    /// Counts the watcher's writes.
    #[serde(default)]
    pub rev: i64,
    /// The generation that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One word for people; no program reads it.
    #[serde(default)]
    pub phase: DNSRecordPhase,
    /// The conditions.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The record at the provider, by the network service.
    #[serde(default)]
    pub record: RecordSection,
}

/// One word for a DNSRecord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DNSRecordPhase {
    /// Not answered yet.
    #[default]
    InProgress,
    /// Answered by the authoritative servers.
    Completed,
    /// Failed.
    Error,
    /// Being deleted.
    Terminating,
}

/// `DNSRecord.status.record`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The chart's provider.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's id of the zone.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
    /// The whole name.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// The provider's id of the record.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The type.
    #[schemars(length(max = 8))]
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// What it points to.
    #[schemars(length(max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i32>,
    /// The zone's authoritative servers.
    #[schemars(length(max = 16), inner(length(max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// When it was seen gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}
