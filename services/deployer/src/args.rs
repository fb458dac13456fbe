//! The settings.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use sequencer_runtime::args::duration;
use serde::de::DeserializeOwned;

/// The service's one name.
pub const NAME: &str = "deployer";

/// Runs components in the cluster and reports whether they are ready.
#[derive(Clone, Debug, Parser)]
#[command(name = NAME, version)]
#[group(skip)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub shared: sequencer_runtime::args::Args,
    /// What decides who may be reached where.
    #[command(flatten)]
    pub hosts: sequencer_runtime::hosts::Args,
    /// Secrets that were made, which nobody may watch, are looked at this often
    #[arg(long, env = "SEQUENCER_RESYNC", default_value = "5m", value_parser = duration)]
    pub resync: Duration,
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
    /// The certificate of Workspaces that name none, a Secret of their namespace
    #[arg(long, env = "SEQUENCER_INGRESS_TLS_SECRET")]
    pub ingress_tls_secret: Option<String>,
    /// The issuer of cert-manager for Workspaces that name none: `ClusterIssuer/name`
    #[arg(long, env = "SEQUENCER_INGRESS_TLS_ISSUER")]
    pub ingress_tls_issuer: Option<String>,
    #[command(flatten)]
    pub urls: sequencer_runtime::hosts::Urls,
    /// Resources of containers that name none, core/v1 ResourceRequirements as JSON
    #[arg(long, env = "SEQUENCER_RESOURCES", default_value = "{}", value_parser = json::<ResourceRequirements>)]
    pub resources: ResourceRequirements,
    /// What a template may ask for
    #[arg(long, env = "SEQUENCER_POD_SECURITY", default_value = "baseline")]
    pub pod_security: PodSecurity,
    /// Claims that Workspaces may mount although they are not their own, a list of `{namespace,
    /// name, readOnly}` as JSON
    #[arg(long, env = "SEQUENCER_SHARED_CLAIMS", default_value = "[]", value_parser = json::<SharedClaims>)]
    pub shared_claims: SharedClaims,
    /// Labels of users that flow down to what is made
    #[arg(long, env = "SEQUENCER_INHERIT_LABELS", value_delimiter = ',')]
    pub inherit_labels: Vec<String>,
    /// Whether each Workspace, and each Component of its own, gets a NetworkPolicy
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
    #[arg(
        long,
        env = "SEQUENCER_TUNNELS_NAMESPACE",
        default_value = "sequencer-tunnels"
    )]
    pub tunnels_namespace: String,
}

impl Settings {
    /// The annotations that a Workspace may set.
    #[must_use]
    pub fn allowed_annotations(&self) -> BTreeSet<&str> {
        self.ingress_annotations
            .iter()
            .map(String::as_str)
            .collect()
    }
}

/// Rules of egress.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(transparent)]
pub struct Egress(pub Vec<NetworkPolicyEgressRule>);

/// Claims that were made by somebody else, for Workspaces to mount.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(transparent)]
pub struct SharedClaims(pub Vec<SharedClaim>);

/// A claim that was made by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedClaim {
    /// The namespace that it is in, and whose Workspaces may mount it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether nobody may write to it.
    #[serde(default = "yes")]
    pub read_only: bool,
}

fn yes() -> bool {
    true
}

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
        test_support::arguments::check(Args::command())
    }

    #[test]
    fn a_shared_claim_is_written_to_only_where_the_chart_says_so() {
        let parse = |text: &str| {
            Args::try_parse_from([
                "x",
                "--pod=a",
                "--namespace=r",
                "--cluster-id=c1",
                "--shared-claims",
                text,
            ])
        };
        let read_only = |text: &str| parse(text).unwrap().settings.shared_claims.0[0].read_only;
        assert!(read_only(r#"[{"namespace":"a","name":"b"}]"#));
        assert!(!read_only(
            r#"[{"namespace":"a","name":"b","readOnly":false}]"#
        ));
        assert!(parse(r#"[{"namespace":"a","name":"b","readonly":false}]"#).is_err());
        assert!(parse(r#"[{"name":"b"}]"#).is_err());
    }

    #[test]
    fn resources_are_read_as_kubernetes_writes_them() {
        let parse = |text: &str| {
            Args::try_parse_from([
                "x",
                "--pod=a",
                "--namespace=r",
                "--cluster-id=c1",
                "--resources",
                text,
            ])
        };
        let resources = parse(r#"{"limits":{"memory":"512Mi"}}"#)
            .unwrap()
            .settings
            .resources;
        assert_eq!(resources.limits.unwrap()["memory"].0, "512Mi");
        assert!(parse("512Mi").is_err());
    }
}
