//! The settings.

use std::collections::BTreeSet;

use clap::{ArgAction, Parser, ValueEnum};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use serde::de::DeserializeOwned;

/// The service's one name.
pub const NAME: &str = "deployer";

/// Runs components in the cluster and tells whether they are ready.
#[derive(Clone, Debug, Parser)]
#[command(name = NAME, version)]
#[group(skip)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub shared: sequencer_runtime::args::Args,
    /// What applies to every Workspace.
    #[command(flatten)]
    pub settings: Settings,
}

/// What the chart decides for every Workspace.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The ingress class of Workspaces that name none
    #[arg(long, env = "SEQUENCER_INGRESS_CLASS")]
    pub ingress_class: Option<String>,
    /// The annotations that a Workspace may set on its Ingress
    #[arg(long, env = "SEQUENCER_INGRESS_ANNOTATIONS", value_delimiter = ',')]
    pub ingress_annotations: Vec<String>,
    /// Whether an Ingress is served by https unless its Workspace says otherwise
    #[arg(long, env = "SEQUENCER_INGRESS_TLS", default_value_t = true, action = ArgAction::Set)]
    pub ingress_tls: bool,
    /// The certificate of Workspaces that name none, a Secret of their namespace
    #[arg(long, env = "SEQUENCER_INGRESS_TLS_SECRET")]
    pub ingress_tls_secret: Option<String>,
    /// The issuer of cert-manager for Workspaces that name none: `ClusterIssuer/name`
    #[arg(long, env = "SEQUENCER_INGRESS_TLS_ISSUER")]
    pub ingress_tls_issuer: Option<String>,
    /// The scheme of URLs behind tunnels
    #[arg(long, env = "SEQUENCER_TUNNELS_URL_SCHEME", default_value = "https")]
    pub tunnels_url_scheme: String,
    /// Resources of containers that name none, core/v1 ResourceRequirements as JSON
    #[arg(long, env = "SEQUENCER_RESOURCES", default_value = "{}", value_parser = json::<ResourceRequirements>)]
    pub resources: ResourceRequirements,
    /// What a template may ask for
    #[arg(long, env = "SEQUENCER_POD_SECURITY", default_value = "baseline")]
    pub pod_security: PodSecurity,
    /// Labels of users that flow down to what is made
    #[arg(long, env = "SEQUENCER_INHERIT_LABELS", value_delimiter = ',')]
    pub inherit_labels: Vec<String>,
    /// Whether each Workspace gets a NetworkPolicy
    #[arg(long, env = "SEQUENCER_NETWORK_POLICY", default_value_t = true, action = ArgAction::Set)]
    pub network_policy: bool,
    /// Whether previews may reach public addresses
    #[arg(long, env = "SEQUENCER_INTERNET_EGRESS", default_value_t = true, action = ArgAction::Set)]
    pub internet_egress: bool,
    /// What else previews may reach, a list of NetworkPolicyEgressRule as JSON
    #[arg(long, env = "SEQUENCER_EXTRA_EGRESS", default_value = "[]", value_parser = json::<Egress>)]
    pub extra_egress: Egress,
    /// The only namespace that is watched; all of them if not set
    #[arg(long, env = "SEQUENCER_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// The namespace of tunnels' connectors
    #[arg(long, env = "SEQUENCER_TUNNELS_NAMESPACE", default_value = "sequencer-tunnels")]
    pub tunnels_namespace: String,
}

impl Settings {
    /// The annotations that a Workspace may set.
    #[must_use]
    pub fn allowed_annotations(&self) -> BTreeSet<&str> {
        self.ingress_annotations.iter().map(String::as_str).collect()
    }
}

/// Rules of egress.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(transparent)]
pub struct Egress(pub Vec<NetworkPolicyEgressRule>);

/// The level of what a template may ask for, as Pod Security has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum PodSecurity {
    /// Nothing that a pod does not need today.
    Restricted,
    /// Nothing that reaches the node.
    Baseline,
    /// Whatever the namespace allows.
    Privileged,
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent_and_each_has_its_variable() -> anyhow::Result<()> {
        e2e::arguments::check(Args::command())
    }

    #[test]
    fn resources_are_read_as_kubernetes_writes_them() {
        let parse = |text: &str| Args::try_parse_from(["x", "--pod=a", "--resources", text]);
        let resources = parse(r#"{"limits":{"memory":"512Mi"}}"#).unwrap().settings.resources;
        assert_eq!(resources.limits.unwrap()["memory"].0, "512Mi");
        assert!(parse("512Mi").is_err());
    }
}
