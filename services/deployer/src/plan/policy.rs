//! Whom the pods of a Workspace may talk to. Components of their own talk to each other, and have no policy.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use sequencer_api::component::Network;
use sequencer_api::labels::NAMESPACE_NAME;
use sequencer_api::workspace::Networking;
use serde_json::{Value, json};

use super::{Object, View, labels, service};
use crate::args::Settings;

/// What is not the internet.
const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];

/// What is not the internet, in IPv6.
const PRIVATE_6: &[&str] = &["fc00::/7", "fe80::/10"];

pub(super) fn policy(view: &View, settings: &Settings) -> Option<Object> {
    let workspace = view.workspace.as_ref().filter(|_workspace| settings.network_policy)?;
    let networking = workspace.spec.networking.as_ref();
    let labels = labels::of_workspace(view, settings);
    let body = json!({
        "metadata": labels::workspace_metadata(view, &view.owner().ingress(), &labels),
        "spec": {
            "podSelector": {"matchLabels": labels::workspace_selector(view)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress(view, settings, networking),
            "egress": egress(view, settings),
        },
    });
    Some(Object::new::<NetworkPolicy>(body, &["/spec"]))
}

fn own_pods(view: &View) -> Value {
    json!({"podSelector": {"matchLabels": labels::workspace_selector(view)}})
}

/// The Workspace's own pods, its connector, and for everybody the ports that it publishes.
fn ingress(view: &View, settings: &Settings, networking: Option<&Networking>) -> Vec<Value> {
    let connector = json!({
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: settings.tunnels_namespace}},
        "podSelector": {"matchLabels": labels::workspace_selector(view)},
    });
    let mut from = vec![own_pods(view)];
    from.extend(networking.and_then(|networking| networking.tunnel.as_ref()).map(|_tunnel| connector));
    let mut rules = vec![json!({"from": from})];
    let ports = published(view, networking);
    if !ports.is_empty() {
        rules.push(json!({"ports": ports}));
    }
    rules
}

/// The ports behind the rules of the Workspace's ingress.
fn published(view: &View, networking: Option<&Networking>) -> Vec<Value> {
    let rules = networking.and_then(|networking| networking.ingress.as_ref()).map(|ingress| &ingress.rules);
    let templates = view.templates();
    let network = |component: &str, name: &str| -> Option<&Network> {
        let component = templates.iter().find(|template| template.name == component)?;
        component.networks.iter().find(|network| network.name == name)
    };
    let found = rules.into_iter().flatten().filter_map(|rule| network(&rule.component, &rule.network));
    let mut ports: Vec<_> =
        found.map(|network| json!({"port": service::target_port(network), "protocol": network.protocol})).collect();
    ports.sort_by_key(Value::to_string);
    ports.dedup();
    ports
}

/// The Workspace's own pods, name servers, and the internet over TLS.
fn egress(view: &View, settings: &Settings) -> Vec<Value> {
    let dns = json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]});
    let internet = json!({
        "to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}},
            {"ipBlock": {"cidr": "::/0", "except": PRIVATE_6}},
        ],
        "ports": [{"port": 443, "protocol": "TCP"}],
    });
    let mut rules = vec![json!({"to": [own_pods(view)]}), dns];
    rules.extend(settings.internet_egress.then_some(internet));
    rules.extend(settings.extra_egress.0.iter().map(|rule| json!(rule)));
    rules
}
