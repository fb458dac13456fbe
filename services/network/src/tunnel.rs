//! A tunnel per Workspace: what leads through it, at Cloudflare and in the cluster. Everything but
//! acting is pure.

mod access;
pub mod cloudflare;
pub mod connector;
pub(crate) mod handle;
mod section;
mod teardown;

use sequencer_api::Workspace;
use sequencer_api::component::Network;
use sequencer_api::names::Owner;
use sequencer_api::routes::{Routed, Through};
use sequencer_api::stored::Stored as _;
use sequencer_api::workspace::RouteProtocol;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// The provider's name in a status.
pub const PROVIDER: &str = "cloudflare";

/// What answers a host or path that no route has.
const NOTHING: &str = "http_status:404";

/// What the tunnel's configuration says. A service is made from names alone, never from text.
///
/// # Errors
/// A route names a component or network that does not exist.
pub fn configuration(workspace: &Workspace, host: &str) -> Result<Value, Error> {
    let namespace = workspace.namespace_str();
    let mut ingress = Vec::new();

    for (routed, protocol) in tunnelled(workspace) {
        let network = network(workspace, &routed)?;
        let service = Owner::of(workspace).service(routed.component, &network.name);
        let mut rule = Map::new();
        let target = format!(
            "{}://{service}.{namespace}.svc:{}",
            scheme(protocol),
            network.port
        );

        rule.insert("hostname".into(), json!(routed.host(host)));
        rule.insert("service".into(), json!(target));
        if routed.path != "/" {
            // Cloudflare reads it as a regular expression.
            rule.insert("path".into(), json!(format!("^{}", escaped(routed.path))));
        }

        if protocol == RouteProtocol::Https {
            // No certificate names a Service.
            rule.insert("originRequest".into(), json!({"noTLSVerify": true}));
        }

        ingress.push(Value::Object(rule));
    }

    ingress.push(json!({"service": NOTHING}));
    Ok(json!({ "ingress": ingress }))
}

/// The routes of a tunnel, with what they speak.
pub fn tunnelled(workspace: &Workspace) -> impl Iterator<Item = (Routed<'_>, RouteProtocol)> {
    workspace
        .routes()
        .into_iter()
        .filter_map(|routed| match routed.through {
            Through::Tunnel(protocol) => Some((routed, protocol)),
            Through::Ingress => None,
        })
}

/// The network that a route leads to.
///
/// # Errors
/// There is none.
pub fn network<'a>(workspace: &'a Workspace, routed: &Routed<'_>) -> Result<&'a Network, Error> {
    let Routed {
        component, network, ..
    } = routed;
    let found = workspace.network(component, network);
    found.ok_or_else(|| Error::NoSuchRoute(format!("{component}.{network}")))
}

fn scheme(protocol: RouteProtocol) -> &'static str {
    match protocol {
        RouteProtocol::Http => "http",
        RouteProtocol::Https => "https",
        RouteProtocol::Tcp => "tcp",
        RouteProtocol::Ssh => "ssh",
    }
}

fn escaped(path: &str) -> String {
    let special = |c: &char| r"\.+*?()|[]{}^$".contains(*c);
    path.chars()
        .flat_map(|c| special(&c).then_some('\\').into_iter().chain([c]))
        .collect()
}

/// Whether a configuration of the provider's says what it shall. Empty fields that the provider
/// adds do not count.
#[must_use]
pub fn configured(found: &Value, wanted: &Value) -> bool {
    let rules = |config: &Value| -> Vec<Map<String, Value>> {
        let rules = config
            .get("ingress")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let rules = rules.filter_map(Value::as_object).cloned();
        let empty = |value: &Value| value.is_null() || value == &json!({}) || value == &json!("");
        rules
            .map(|rule| {
                rule.into_iter()
                    .filter(|(_, value)| !empty(value))
                    .collect()
            })
            .collect()
    };
    rules(found) == rules(wanted)
}

#[cfg(test)]
mod tests {
    use sequencer_runtime::section::Failure as _;

    use super::*;

    fn workspace() -> Workspace {
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace",
            "metadata": {"name": "w", "namespace": "team-a", "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10"},
            "spec": {
                "networking": {
                    "dns": {"zone": "yourdomain.com"},
                    "tunnel": {"cloudflare": {
                        "accountId": "0123456789abcdef0123456789abcdef",
                        "route": {"component": "click-mania", "network": "HTTP"},
                        "additionalRoutes": [
                            {"name": "admin", "subdomain": "admin", "component": "click-mania", "network": "HTTP", "path": "/a.b", "protocol": "https"},
                        ],
                        "secretKeyRef": {"name": "token", "key": "apiKey"},
                    }},
                },
                "components": [{
                    "name": "click-mania", "template": {"containers": [{"name": "c", "image": "c"}]},
                    "networks": [{"name": "HTTP", "port": 3000, "targetPort": 8080}],
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_configuration_is_made_of_names_and_ends_in_nothing() {
        let workspace = workspace();
        let host = workspace.host("c1").unwrap();
        let service = Owner::of(&workspace).service("click-mania", "HTTP");
        assert_eq!(
            configuration(&workspace, &host).unwrap(),
            json!({"ingress": [
                {"hostname": host, "service": format!("http://{service}.team-a.svc:3000")},
                {
                    "hostname": format!("admin-{host}"), "service": format!("https://{service}.team-a.svc:3000"),
                    "path": r"^/a\.b", "originRequest": {"noTLSVerify": true},
                },
                {"service": "http_status:404"},
            ]})
        );
        assert!(host.starts_with("w-") && host.ends_with(".yourdomain.com"));
    }

    #[test]
    fn a_route_to_nothing_is_e6054() {
        let mut workspace = workspace();
        let networking = workspace.spec.networking.as_mut().unwrap();
        let tunnel = networking.tunnel.as_mut().unwrap().cloudflare.as_mut();
        tunnel.unwrap().additional_routes[0].route.network = "other".into();
        let error = configuration(&workspace, "a.b").unwrap_err();
        assert_eq!(error.code().number(), 6054);
    }

    #[test]
    fn what_the_provider_adds_to_a_configuration_does_not_count() {
        let wanted = json!({"ingress": [{"service": NOTHING}]});
        let found = json!({"ingress": [{"service": NOTHING, "originRequest": {}}], "warp-routing": {"enabled": false}});
        assert!(configured(&found, &wanted));
        assert!(!configured(
            &json!({"ingress": [{"service": NOTHING, "path": "/x"}]}),
            &wanted
        ));
        assert!(!configured(&Value::Null, &wanted));
        assert!(!configured(&json!({"ingress": []}), &wanted));
    }
}
