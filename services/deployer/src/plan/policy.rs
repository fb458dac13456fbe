//! Whom pods may talk to.
//!
//! The pods of a Workspace talk to each other, to name servers and to the internet over TLS: one
//! policy says so for all of them. What comes from outside reaches the ports that are published, on
//! the pods of the component that they are published of: a policy of that component adds this.
//! Policies add up, so no other pod of the Workspace is any more open for it.
//!
//! A Component of its own has one policy, of the same kind. Beside its own pods it knows the other
//! Components without a Workspace in its namespace: by their names in variables it may use their
//! Services. So these let each other in, at the ports of their networks. They are found by a label
//! that only the deployer writes: which of them use which is not asked for, as it changes with
//! every Component that comes, and whoever applies one there could name any of the others anyway.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sequencer_api::component::Network;
use sequencer_api::labels::NAMESPACE_NAME;
use sequencer_api::private;
use sequencer_api::routes::{Routed, Through};
use serde_json::{Value, json};

use super::{Object, View, labels, service_name};
use crate::args::Settings;
use crate::error::Error;

/// Where the ports of networks led to before, by the network's name, as long as pods of an earlier
/// revision may serve.
pub(crate) type Earlier = BTreeMap<String, Vec<IntOrString>>;

/// The policies that a Component needs: its Workspace's and, if something of it is published, its
/// own.
pub(crate) fn policies(
    view: &View,
    settings: &Settings,
    earlier: &Earlier,
) -> Result<Vec<Object>, Error> {
    if !settings.network_policy {
        return Ok(Vec::new());
    }

    if view.workspace.is_none() {
        let own = of_component(view, settings, &standalone(view, settings, earlier))?;
        return Ok(vec![own]);
    }

    let mut policies = vec![of_workspace(view, settings)?];
    policies.extend(published(view, settings, earlier)?);
    Ok(policies)
}

/// The policy of a Workspace where the chart wants none: it has to go.
pub(super) fn unwanted(view: &View, settings: &Settings) -> Result<Option<Object>, Error> {
    let is_unwanted = !settings.network_policy && view.workspace.is_some();
    is_unwanted
        .then(|| of_workspace(view, settings))
        .transpose()
}

/// All pods of the Workspace among themselves.
fn of_workspace(view: &View, settings: &Settings) -> Result<Object, Error> {
    let labels = labels::of_workspace(view, settings);
    let body = json!({
        "metadata": labels::workspace_metadata(view, &view.owner().ingress(), &labels)?,
        "spec": {
            "podSelector": {"matchLabels": labels::workspace_selector(view)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [own_pods(view)]}],
            "egress": egress(view, settings),
        },
    });
    Ok(Object::new::<NetworkPolicy>(body))
}

/// A Component's own policy, which goes with it.
fn of_component(view: &View, settings: &Settings, spec: &Value) -> Result<Object, Error> {
    let labels = labels::of_component(view, settings);
    let name = view.owner().policy(&view.template().name);
    let body = json!({"metadata": labels::metadata(view, &name, &labels)?, "spec": spec});
    Ok(Object::new::<NetworkPolicy>(body))
}

/// The pods of a Component without a Workspace, and the others of its kind.
fn standalone(view: &View, settings: &Settings, earlier: &Earlier) -> Value {
    let mut ingress = vec![json!({"from": [own_pods(view)]})];
    let ports = open(view.template().networks.iter(), earlier);
    if !ports.is_empty() {
        ingress.push(json!({"from": [standalone_pods()], "ports": ports}));
    }

    let mut egress = egress(view, settings);
    egress.push(json!({"to": [standalone_pods()]}));
    json!({
        "podSelector": {"matchLabels": labels::workspace_selector(view)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    })
}

/// What reaches the Component from outside: its Workspace's connector, at the ports that a route
/// names; and everybody, at those that the Workspace's ingress names: where its controller is,
/// nobody tells. So it is until an Ingress is gone that a tunnel takes the place of.
fn published(view: &View, settings: &Settings, earlier: &Earlier) -> Result<Option<Object>, Error> {
    let Some(workspace) = &view.workspace else {
        return Ok(None);
    };

    let routes = workspace.routes();
    let (served, routed): (Vec<_>, Vec<_>) = routes
        .iter()
        .filter(|routed| routed.component == view.template().name)
        .partition(|routed| routed.through == Through::Ingress);
    let (served, routed) = (
        networks(view, &served).chain(left(view)),
        networks(view, &routed),
    );
    let (served, routed) = (open(served, earlier), open(routed, earlier));

    let mut ingress = Vec::new();
    if !routed.is_empty() {
        let connector = json!({
            "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: settings.tunnels_namespace}},
            "podSelector": {"matchLabels": labels::workspace_selector(view)},
        });
        ingress.push(json!({"from": [connector], "ports": routed}));
    }
    if !served.is_empty() {
        ingress.push(json!({"ports": served}));
    }
    if ingress.is_empty() {
        return Ok(None);
    }

    let spec = json!({
        "podSelector": {"matchLabels": labels::selector(view, &view.template().name)},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    });
    of_component(view, settings, &spec).map(Some)
}

/// The Component's own networks that an Ingress leads to which a tunnel takes the place of.
fn left(view: &View) -> impl Iterator<Item = &Network> {
    let status = view.workspace_status().filter(|_| view.leaves_ingress());
    let rules = status.map_or(&[][..], |status| &status.ingress.rules);
    view.template().networks.iter().filter(move |network| {
        let service = service_name(view, &view.template().name, &network.name);
        rules.iter().any(|rule| rule.service == service)
    })
}

/// The Component's own networks that these routes lead to.
fn networks<'a>(view: &'a View, routes: &[&Routed<'_>]) -> impl Iterator<Item = &'a Network> {
    view.template().networks.iter().filter(|network| {
        let mut routes = routes.iter();
        routes.any(|routed| routed.network == network.name)
    })
}

/// The ports of the pods behind these networks, as planned and as they were before.
fn open<'a>(networks: impl Iterator<Item = &'a Network>, earlier: &Earlier) -> Vec<Value> {
    let of = |network: &'a Network| {
        let before = earlier.get(&network.name).into_iter().flatten().cloned();
        let targets = std::iter::once(network.target_port()).chain(before);
        targets.map(|target| json!({"port": target, "protocol": network.protocol}))
    };
    let mut ports: Vec<_> = networks.flat_map(of).collect();
    ports.sort_by_key(Value::to_string);
    ports.dedup();
    ports
}

fn own_pods(view: &View) -> Value {
    json!({"podSelector": {"matchLabels": labels::workspace_selector(view)}})
}

fn standalone_pods() -> Value {
    json!({"podSelector": {"matchLabels": labels::standalone_selector()}})
}

/// The Workspace's own pods, name servers, and the internet over TLS.
fn egress(view: &View, settings: &Settings) -> Vec<Value> {
    // OpenShift's name servers listen on 5353: policies are about the ports of pods.
    let dns = [53, 5353].into_iter();
    let dns = dns.flat_map(|port| ["UDP", "TCP"].map(|by| json!({"port": port, "protocol": by})));
    let dns = json!({"ports": dns.collect::<Vec<_>>()});
    let internet = json!({
        "to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": private::IPV4}},
            {"ipBlock": {"cidr": "::/0", "except": private::IPV6}},
        ],
        "ports": [{"port": 443, "protocol": "TCP"}],
    });
    let mut rules = vec![json!({"to": [own_pods(view)]}), dns];
    rules.extend(settings.internet_egress.then_some(internet));
    rules.extend(settings.extra_egress.0.iter().map(|rule| json!(rule)));
    rules
}

#[cfg(test)]
mod tests;
