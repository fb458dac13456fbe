//! Who may reach whom, by the NetworkPolicies that are there. The cluster's network does not
//! enforce them: what they say is worked out.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lab::parts::name_server::ZONE;
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};
use test_support::policies::{Peer, allows, selects};

use crate::user::{User, unique};

/// What somebody who tries may try: web servers, databases, the API server, NATS, kubelets.
const PORTS: [u16; 9] = [22, 80, 443, 3000, 4222, 6379, 6443, 8080, 10250];

/// The instance metadata of clouds.
const METADATA: &str = "169.254.169.254";

/// Every pod and every policy of the cluster at one moment.
struct Seen {
    pods: Vec<Value>,
    policies: Vec<Value>,
}

impl Seen {
    fn now(user: &User) -> Result<Self> {
        let get = |kind: &str| -> Result<Vec<Value>> {
            let list: Value =
                serde_json::from_str(&user.cluster.kubectl(&["get", kind, "-A", "-o", "json"])?)?;
            Ok(list["items"].as_array().context("no list")?.clone())
        };
        Ok(Self {
            pods: get("pods")?,
            policies: get("networkpolicies")?,
        })
    }

    /// The pods with this label.
    fn labelled(&self, label: &str, value: &str) -> Result<Vec<Peer>> {
        let found: Vec<_> = self
            .pods
            .iter()
            .filter(|pod| pod["metadata"]["labels"][label] == value)
            .map(Peer::pod)
            .collect();
        ensure!(!found.is_empty(), "no pod has {label}={value}");
        Ok(found)
    }

    fn open(&self, from: &Peer, to: &Peer, port: u16) -> bool {
        allows(&self.policies, from, to, "TCP", port)
    }

    /// At which of the ports somebody reaches somebody.
    fn ports(&self, from: &Peer, to: &Peer) -> Vec<u16> {
        PORTS
            .into_iter()
            .filter(|port| self.open(from, to, *port))
            .collect()
    }
}

fn address(text: &str) -> Result<Peer> {
    Ok(Peer::address(
        text.parse::<IpAddr>()
            .with_context(|| format!("{text} is no address"))?,
    ))
}

/// Where the API server is, as pods know it and as it is.
fn api_server(user: &User) -> Result<[(Peer, u16); 2]> {
    let get = |object: &str, path: &str| {
        user.cluster.kubectl(&[
            "-n",
            "default",
            "get",
            object,
            "-o",
            &format!("jsonpath={{{path}}}"),
        ])
    };

    let at = |object: &str, host: &str, port: &str| -> Result<(Peer, u16)> {
        Ok((address(&get(object, host)?)?, get(object, port)?.parse()?))
    };

    Ok([
        at(
            "service/kubernetes",
            ".spec.clusterIP",
            ".spec.ports[0].port",
        )?,
        at(
            "endpointslice/kubernetes",
            ".endpoints[0].addresses[0]",
            ".ports[0].port",
        )?,
    ])
}

/// A component with one port.
fn component(name: &str, port: u16) -> Value {
    let container = json!({
        "name": "main", "image": "app-base:bookworm", "command": ["python3", "-m", "http.server", port.to_string()],
        "ports": [{"containerPort": port}],
    });
    json!({
        "name": name, "template": {"containers": [container]},
        "networks": [{"name": "tcp", "port": port}],
    })
}

/// Applies a Component without a Workspace and waits until it is ready.
fn apply_alone(user: &User, spec: &Value) -> Result<()> {
    let name = spec["name"].as_str().context("no name")?;
    let object = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec});
    user.apply(&object.to_string())?;
    user.kubectl(&[
        "wait",
        &format!("component/{name}"),
        "--for=condition=Ready",
        "--timeout=120s",
    ])
    .map(drop)
}

#[test]
fn a_component_of_its_own_reaches_its_like_and_nothing_else_of_the_cluster() -> Result<()> {
    let (user, other) = (User::of(TENANTS[0])?, User::of(TENANTS[1])?);
    let (database, front, neighbour) = (&unique("db"), &unique("front"), &unique("next"));
    apply_alone(&user, &component(database, 6379))?;
    let mut using = component(front, 3000);
    let host = format!("${{components::{database}.networks.tcp}}");
    using["template"]["containers"][0]["env"] = json!([{"name": "DB_HOST", "value": host}]);
    apply_alone(&user, &using)?;
    apply_alone(&other, &component(neighbour, 6379))?;

    let (seen, servers) = (Seen::now(&user)?, api_server(&user)?);
    let pod_of = |name: &str| seen.labelled("app.kubernetes.io/instance", name);

    for name in [database, front] {
        let uid = user.field(&format!("component/{name}"), ".metadata.uid")?;
        let own = |policy: &&Value| policy["metadata"]["ownerReferences"][0]["uid"] == uid.as_str();
        let policy = seen
            .policies
            .iter()
            .find(own)
            .with_context(|| format!("{name} has no policy"))?;
        let selected = seen
            .pods
            .iter()
            .filter(|pod| selects(policy, &Peer::pod(pod)));
        let others: Vec<_> = selected
            .filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/instance"] != name.as_str())
            .map(|pod| &pod["metadata"]["name"])
            .collect();

        ensure!(
            others.is_empty(),
            "the policy of {name} is about {others:?} too"
        );

        for pod in pod_of(name)? {
            ensure!(
                selects(policy, &pod),
                "the policy of {name} is not about its pods"
            );

            for (server, port) in &servers {
                ensure!(
                    !seen.open(&pod, server, *port),
                    "{name} reaches the API server at {server:?} {port}"
                );
            }

            assert_eq!(
                seen.ports(&pod, &address(METADATA)?),
                [0; 0],
                "{name} reaches the node's metadata"
            );

            // A pod of the node's own network is the node, and no policy is about it.
            let pods = seen
                .pods
                .iter()
                .filter(|pod| pod["spec"]["hostNetwork"] != true);
            for stranger in pods.filter(|pod| pod["metadata"]["namespace"] != user.namespace) {
                let (known, stranger) = (&stranger["metadata"]["name"], Peer::pod(stranger));
                assert_eq!(
                    seen.ports(&pod, &stranger),
                    [0; 0],
                    "{name} reaches {known}"
                );
                assert_eq!(
                    seen.ports(&stranger, &pod),
                    [0; 0],
                    "{known} reaches {name}"
                );
            }
        }
    }

    // And what it is for: its like at their networks, name servers, the internet over TLS.
    for (front, database) in pod_of(front)?.iter().zip(&pod_of(database)?) {
        assert_eq!(seen.ports(front, database), [6379]);
        assert_eq!(seen.ports(front, &address("93.184.216.34")?), [443]);
        ensure!(
            allows(&seen.policies, front, &address("10.96.0.10")?, "UDP", 53),
            "no name server is reached"
        );
    }

    user.kubectl(&["delete", "component", database, front, "--timeout=120s"])?;
    other
        .kubectl(&["delete", "component", neighbour, "--timeout=120s"])
        .map(drop)
}

#[test]
fn a_published_port_is_open_on_the_pods_of_its_component_and_closed_with_it() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    let name = &unique("shopfront");
    let rule = json!({"name": "web", "component": "web", "network": "tcp"});
    let spec = json!({
        "components": [component("web", 3000), component("database", 6379)],
        "networking": {"dns": {"zone": ZONE}, "ingress": {"className": "traefik", "rules": [rule]}},
    });
    let object = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec});
    user.apply(&object.to_string())?;
    user.wait_ready(name)?;

    let seen = Seen::now(&user)?;
    let pods = |seen: &Seen, component: &str| -> Result<Vec<Peer>> {
        let component = user.component(name, component)?;
        seen.labelled(
            "app.kubernetes.io/instance",
            component.rsplit('/').next().unwrap_or_default(),
        )
    };

    let anybody = [Peer::labelled("team-c", &json!({})), address("198.18.0.9")?];
    let (webs, databases) = (pods(&seen, "web")?, pods(&seen, "database")?);

    for from in &anybody {
        for web in &webs {
            assert_eq!(seen.ports(from, web), [3000]);
        }
        for database in &databases {
            assert_eq!(
                seen.ports(from, database),
                [0; 0],
                "the database is open to everybody"
            );
        }
    }

    for (web, database) in webs.iter().zip(&databases) {
        ensure!(
            seen.open(web, database, 6379),
            "the Workspace's own pods are kept apart"
        );
    }

    // What is published no more is closed.
    user.patch(name, &json!([{"op": "remove", "path": "/spec/networking"}]))?;

    until("the port is closed", PATIENCE, || {
        let seen = Seen::now(&user)?;
        let webs = pods(&seen, "web")?;

        ensure!(
            webs.iter()
                .all(|web| !anybody.iter().any(|from| seen.open(from, web, 3000))),
            "it is open"
        );
        Ok(())
    })?;
    user.delete(name)
}
