//! Where the requests of a Workspace go: the routes of its tunnel and the rules of its ingress.

use crate::Workspace;
use crate::component::Network;
use crate::status::State;
use crate::stored::Stored as _;
use crate::workspace::{CloudflareTunnel, IngressRule, Route, RouteProtocol};

/// A route or a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The name in `${ingress::NAME}`. A tunnel's own route has none.
    pub name: Option<&'a str>,
    /// What stands before the Workspace's host; the host itself if absent.
    pub subdomain: Option<&'a str>,
    /// Where the path begins; `/` for all.
    pub path: &'a str,
    /// The component that answers.
    pub component: &'a str,
    /// The component's network that answers.
    pub network: &'a str,
    /// How requests come to it.
    pub through: Through,
}

/// How requests come to a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// By a tunnel, to a component that speaks this.
    Tunnel(RouteProtocol),
    /// By an Ingress.
    Ingress,
}

impl Routed<'_> {
    /// Returns the host that is asked, of a Workspace with this host.
    #[must_use]
    pub fn host(&self, workspace: &str) -> String {
        // Flat, so that one wildcard covers it.
        self.subdomain.map_or_else(
            || workspace.to_owned(),
            |subdomain| format!("{subdomain}-{workspace}"),
        )
    }

    /// Returns the scheme of what is no HTTP: such a route takes connections.
    #[must_use]
    pub fn bare_scheme(&self) -> Option<&'static str> {
        match self.through {
            Through::Tunnel(RouteProtocol::Tcp) => Some("tcp"),
            Through::Tunnel(RouteProtocol::Ssh) => Some("ssh"),
            Through::Tunnel(RouteProtocol::Http | RouteProtocol::Https) | Through::Ingress => None,
        }
    }

    /// Tells whether a browser can ask for it.
    #[must_use]
    pub fn is_web(&self) -> bool {
        self.bare_scheme().is_none()
    }
}

impl Workspace {
    /// Returns its tunnel, or None if it wants none.
    #[must_use]
    pub fn tunnel(&self) -> Option<&CloudflareTunnel> {
        let networking = self.spec.networking.as_ref()?;
        networking.tunnel.as_ref()?.cloudflare.as_ref()
    }

    /// Returns the routes of its tunnel, the host's own first, and the rules of its ingress.
    #[must_use]
    pub fn routes(&self) -> Vec<Routed<'_>> {
        let tunnel = self.tunnel().into_iter().flat_map(|tunnel| {
            let own = tunnelled(None, None, &tunnel.route);
            let more = tunnel.additional_routes.iter();
            let more =
                more.map(|more| tunnelled(Some(&more.name), Some(&more.subdomain), &more.route));
            std::iter::once(own).chain(more)
        });
        let networking = self.spec.networking.iter();
        let ingress = networking.flat_map(|networking| &networking.ingress);
        let rules = ingress
            .flat_map(|ingress| &ingress.rules)
            .map(IngressRule::routed);
        tunnel.chain(rules).collect()
    }

    /// Tells whether it has a way in, as the spec has it now, that has not answered yet. One that it
    /// had before stays until then.
    #[must_use]
    pub fn awaits_way_in(&self) -> bool {
        let Some(networking) = &self.spec.networking else {
            return false;
        };
        let Some(status) = &self.status else {
            return true;
        };
        let way = match networking.tunnel {
            Some(_) => &status.tunnel.section,
            None => &status.ingress.section,
        };
        let generation = self.generation();
        let answers = status.route.section.is(State::Healthy, generation);
        !(way.is(State::Completed, generation) && answers)
    }

    /// Returns a network of a component, or None if the spec has none of this name.
    #[must_use]
    pub fn network(&self, component: &str, network: &str) -> Option<&Network> {
        let mut components = self.spec.components.iter();
        let component = components.find(|found| found.name == component)?;
        component
            .networks
            .iter()
            .find(|found| found.name == network)
    }
}

fn tunnelled<'a>(
    name: Option<&'a str>,
    subdomain: Option<&'a str>,
    route: &'a Route,
) -> Routed<'a> {
    Routed {
        name,
        subdomain,
        path: &route.path,
        component: &route.component,
        network: &route.network,
        through: Through::Tunnel(route.protocol),
    }
}

impl IngressRule {
    /// Returns where it leads.
    #[must_use]
    pub fn routed(&self) -> Routed<'_> {
        Routed {
            name: Some(&self.name),
            subdomain: self.subdomain.as_deref(),
            path: &self.path,
            component: &self.component,
            network: &self.network,
            through: Through::Ingress,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn workspace(networking: &Value) -> Workspace {
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace",
            "metadata": {"name": "w", "namespace": "team-a", "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10"},
            "spec": {"networking": networking, "components": [{
                "name": "web", "template": {"containers": [{"name": "c", "image": "c"}]},
                "networks": [{"name": "http", "port": 80}, {"name": "ssh", "port": 22}],
            }]},
        }))
        .unwrap()
    }

    #[test]
    fn a_way_in_is_awaited_until_it_is_there_and_has_answered() {
        let awaits = |networking: Value, status: &Value| {
            let mut workspace = workspace(&networking);
            workspace.metadata.generation = Some(2);
            workspace.status = serde_json::from_value(status.clone()).unwrap();
            workspace.awaits_way_in()
        };
        let ingress = json!({"dns": {"zone": "example.com"}, "ingress": {"rules": []}});
        let at = |state: &str, generation: i64| json!({"rev": 1, "state": state, "observedGeneration": generation});

        let answers = json!({"ingress": at("Completed", 2), "route": at("Healthy", 2)});
        assert!(!awaits(ingress.clone(), &answers));
        assert!(!awaits(Value::Null, &json!({})));
        for status in [
            Value::Null,
            json!({}),
            json!({"ingress": at("Completed", 2), "route": at("Healthy", 1)}),
            // What answered was the way before.
            json!({"ingress": at("Completed", 1), "route": at("Healthy", 2)}),
            json!({"tunnel": at("Completed", 2), "route": at("Healthy", 2)}),
        ] {
            assert!(awaits(ingress.clone(), &status), "{status}");
        }
    }

    #[test]
    fn a_tunnel_serves_its_host_first_and_then_its_subdomains() {
        let workspace = workspace(&json!({
            "dns": {"zone": "example.com", "name": "shop"},
            "tunnel": {"cloudflare": {
                "accountId": "0123456789abcdef0123456789abcdef",
                "route": {"component": "web", "network": "http"},
                "additionalRoutes": [
                    {"name": "shell", "subdomain": "ssh", "component": "web", "network": "ssh", "protocol": "ssh"},
                ],
                "secretKeyRef": {"name": "token", "key": "apiKey"},
            }},
        }));

        let routes = workspace.routes();
        let shown: Vec<_> = routes
            .iter()
            .map(|routed| (routed.name, routed.host("a.b"), routed.is_web()))
            .collect();

        assert_eq!(
            shown,
            [
                (None, "a.b".to_owned(), true),
                (Some("shell"), "ssh-a.b".to_owned(), false),
            ]
        );
    }

    #[test]
    fn an_ingress_serves_its_rules() {
        let workspace = workspace(&json!({
            "dns": {"zone": "example.com", "name": "shop"},
            "ingress": {"rules": [
                {"name": "main", "component": "web", "network": "http"},
                {"name": "api", "subdomain": "api", "component": "web", "network": "http", "path": "/v1"},
            ]},
        }));

        let routes = workspace.routes();
        let shown: Vec<_> = routes
            .iter()
            .map(|routed| (routed.name, routed.host("a.b"), routed.path))
            .collect();

        assert_eq!(
            shown,
            [
                (Some("main"), "a.b".to_owned(), "/"),
                (Some("api"), "api-a.b".to_owned(), "/v1"),
            ]
        );
    }

    #[test]
    fn without_networking_nothing_is_served() {
        let mut workspace = workspace(&json!({"dns": {"zone": "example.com"}}));
        assert!(workspace.routes().is_empty());
        workspace.spec.networking = None;
        assert!(workspace.routes().is_empty());
    }

    #[test]
    fn a_network_is_found_by_both_names() {
        let workspace = workspace(&json!({"dns": {"zone": "example.com"}}));
        assert_eq!(workspace.network("web", "ssh").unwrap().port, 22);
        assert!(workspace.network("web", "other").is_none());
        assert!(workspace.network("other", "ssh").is_none());
    }
}
