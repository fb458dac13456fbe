//! `Workspace`: a running preview of an application.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::{ComponentTemplate, UpdatePolicy};
pub use crate::object_ref::ObjectRef;
use crate::pattern::{DURATION, ZONE};
use crate::secret::SecretKeyRef;
use crate::status::workspace::WorkspaceStatus;

/// A running preview of an application with a URL of its own.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "se.quencer.io",
    version = "v1alpha1",
    kind = "Workspace",
    plural = "workspaces",
    shortname = "ws",
    category = "sequencer",
    namespaced,
    status = "WorkspaceStatus",
    doc = "A running preview of an application, with a URL of its own.",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message("E#6061 metadata.name: a lower-case DNS label of at most 63 characters that begins with a letter"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Components", type_ = "string", json_path = ".status.componentsReady"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".status.commit", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.components.all(c, !has(c.dependsOn) || c.dependsOn.all(d, self.components.exists(o, o.name == d.componentName)))")
        .message("E#6011 components: dependsOn names a component that does not exist"),
    validation = Rule::new("!has(self.networking) || !has(self.networking.tunnel) || self.components.exists(c, c.name == self.networking.tunnel.cloudflare.route.component && has(c.networks) && c.networks.exists(n, n.name == self.networking.tunnel.cloudflare.route.network))")
        .message("E#6054 networking.tunnel.cloudflare.route: no such component, or it has no such network"),
    validation = Rule::new("!has(self.networking) || !has(self.networking.ingress) || self.networking.ingress.rules.all(r, self.components.exists(c, c.name == r.component && has(c.networks) && c.networks.exists(n, n.name == r.network)))")
        .message("E#6054 networking.ingress.rules: no such component, or it has no such network")
)]
pub struct WorkspaceSpec {
    /// No new build, roll-out or poll; what runs stays up, and deletion and ttl still act.
    #[serde(default)]
    pub paused: bool,
    /// How long after the last activity it is deleted: a duration like `168h`.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("E#6064 ttl: at least 1m"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Which commits are rolled out.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// Values that templates take as `${variables::NAME}`, fixed or generated.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// How the application is reached; without it there is no host and no URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networking: Option<Networking>,
    /// The parts of the application.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub components: Vec<ComponentTemplate>,
}

/// A value that templates take as `${variables::NAME}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.value) != has(self.generate)").message("E#6069 variables: exactly one of value and generate"))]
pub struct Variable {
    /// The name in `${variables::NAME}`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// The value; may hold `${workspace::...}`.
    #[schemars(length(max = 4096))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A random value, made once and kept in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
}

/// A value that is made up once for the Workspace and kept in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Generate {
    /// How many letters and digits.
    #[schemars(range(min = 8, max = 64))]
    pub length: i32,
}

/// How the application is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.tunnel) != has(self.ingress)").message("E#6053 networking: exactly one of tunnel and ingress"))]
pub struct Networking {
    /// The host that the Workspace is reached at.
    pub dns: Dns,
    /// Publish through a tunnel that the network service makes; nothing in the cluster is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// Through the cluster's ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
}

/// The host that a Workspace is reached at: a name in a zone that the chart grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Dns {
    /// The zone, served by a provider that is granted to this namespace.
    #[schemars(
        length(min = 1, max = 190),
        regex(pattern = ZONE)
    )]
    pub zone: String,
    /// A left-most label of one's own, first come first served; `<workspace>-<hash>` if absent.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A provider of the chart; the one with the longest matching zone if absent.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// A tunnel, by its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.cloudflare)").message("E#3012 tunnel: name a provider; cloudflare is the only one yet"))]
pub struct Tunnel {
    /// A Cloudflare Tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloudflare: Option<CloudflareTunnel>,
}

/// A tunnel of Cloudflare's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudflareTunnel {
    /// The program that connects it.
    #[serde(default)]
    pub connector: Connector,
    /// The id of the Cloudflare account that the tunnel is made in.
    #[schemars(length(min = 32, max = 32), regex(pattern = r"^[0-9a-f]{32}$"))]
    pub account_id: String,
    /// What the host itself serves.
    pub route: Route,
    /// More hosts on the same tunnel.
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_routes: Vec<NamedRoute>,
    /// The API token, which may edit tunnels of the account.
    pub secret_key_ref: SecretKeyRef,
}

/// The program that connects a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Connector {
    /// `cloudflared`, Cloudflare's own connector.
    #[default]
    Cloudflared,
}

/// The component and network that requests go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Route {
    /// The name of the component that answers.
    #[schemars(length(min = 1, max = 20))]
    pub component: String,
    /// The name of the component's network that answers.
    #[schemars(length(min = 1, max = 15))]
    pub network: String,
    /// Only paths that begin so.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/"))]
    #[serde(default = "root")]
    pub path: String,
    /// What the component speaks.
    #[serde(default)]
    pub protocol: RouteProtocol,
}

/// A route on a host of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct NamedRoute {
    /// The name in `${ingress::NAME}`.
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Its host is `<subdomain>-<host>`.
    #[schemars(
        length(min = 1, max = 15),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub subdomain: String,
    /// The component and network that requests go to.
    #[serde(flatten)]
    pub route: Route,
}

/// What a component behind a tunnel speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RouteProtocol {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS, whatever the certificate says.
    Https,
    /// A stream of bytes.
    Tcp,
    /// SSH, by the provider's client.
    Ssh,
}

fn root() -> String {
    "/".into()
}

/// Through the cluster's ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.className) || !has(self.gatewayRef)").message("E#6070 ingress: at most one of className and gatewayRef"))]
pub struct Ingress {
    /// The ingress class; the chart's if absent.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// An HTTPRoute on this Gateway instead of an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,
    /// The paths that are served, and the components that answer.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<IngressRule>,
    /// Annotations of the Ingress; only those that the chart allows.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The Service whose address DNS gets; the Ingress's own status if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_ref: Option<ObjectRef>,
    /// The certificate; the chart's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A Gateway (gateway.networking.k8s.io) that HTTPRoutes attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Its namespace; the Workspace's own if absent.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// One of its listeners.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// What an ingress serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressRule {
    /// The name in `${ingress::NAME}`.
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The name of the component that answers.
    #[schemars(length(min = 1, max = 20))]
    pub component: String,
    /// The name of the component's network that answers.
    #[schemars(length(min = 1, max = 15))]
    pub network: String,
    /// Its host is `<subdomain>-<host>`; the host itself if absent.
    #[schemars(
        length(min = 1, max = 15),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// The path of requests; `/` for all.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/"))]
    #[serde(default = "root")]
    pub path: String,
    /// How the path is compared (networking/v1).
    #[serde(default)]
    pub path_type: PathType,
}

/// How a path is compared (networking/v1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    /// A prefix, compared element by element.
    #[default]
    Prefix,
    /// The whole path, letter by letter.
    Exact,
    /// As the controller likes.
    ImplementationSpecific,
}

/// The certificate of an ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.secretName) || !has(self.issuerRef)").message("E#6071 tls: at most one of secretName and issuerRef"))]
pub struct Tls {
    /// Whether it is served by https.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A Secret of type kubernetes.io/tls in this namespace.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// An issuer of cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

fn yes() -> bool {
    true
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct IssuerRef {
    /// Whether it is an `Issuer` or a `ClusterIssuer` of cert-manager.
    pub kind: IssuerKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A kind of issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IssuerKind {
    /// An Issuer of the Workspace's namespace.
    Issuer,
    /// A ClusterIssuer.
    ClusterIssuer,
}
