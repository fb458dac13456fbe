//! A preview at somebody else's host.

use anyhow::{Result, ensure};
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::user::{User, unique};

/// A zone that the lab grants to the first tenant alone, who may choose names in it.
const BANK: &str = "bank.test";

/// A component that answers every path with its Workspace's name, behind an ingress.
fn site(name: &str, dns: &Value, path: &str) -> Value {
    let script = format!(
        "mkdir -p /tmp/site{path} && echo {name} | tee /tmp/site/index.html > /tmp/site{path}/index.html && \
         exec python3 -m http.server --directory /tmp/site 8000"
    );
    let container =
        json!({"name": "web", "image": "app-base:bookworm", "command": ["sh", "-c", script]});
    let rule = json!({"name": "main", "component": "web", "network": "http", "path": path});

    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
        "spec": {
            "networking": {"dns": dns, "ingress": {"rules": [rule], "tls": {"enabled": false}}},
            "components": [{
                "name": "web", "template": {"containers": [container]}, "networks": [{"name": "http", "port": 8000}],
            }],
        },
    })
}

fn visit(user: &User, url: &str) -> Result<String> {
    user.cluster.general.run(&["curl", "-sSL", "-m", "5", url])
}

impl User {
    fn condition(&self, name: &str, kind: &str, field: &str) -> Result<String> {
        self.field(
            &format!("workspace/{name}"),
            &format!(".status.conditions[?(@.type=='{kind}')].{field}"),
        )
    }

    /// Waits until everything of a Workspace would serve, if it were let.
    fn wait_components(&self, name: &str) -> Result<()> {
        let ready = format!("--for=condition=Components=true workspace/{name} --timeout=120s");
        self.kubectl(&[&["wait"], &ready.split(' ').collect::<Vec<_>>()[..]].concat())
            .map(drop)
    }

    /// The hosts of the Ingresses of a Workspace.
    fn exposed(&self, name: &str) -> Result<String> {
        let selector = format!("se.quencer.io/workspace={name}");
        self.kubectl(&[
            "get",
            "ingress",
            "-l",
            &selector,
            "-o",
            "jsonpath={.items[*].spec.rules[*].host}",
        ])
    }

    /// Waits until a Workspace is refused with this code wherever people look, and serves nothing.
    fn wait_refused(&self, name: &str, code: &str) -> Result<()> {
        self.wait_components(name)?;
        for kind in ["Ingress", "DNS", "Ready"] {
            until(&format!("{kind} of {name} says {code}"), PATIENCE, || {
                let message = self.condition(name, kind, "message")?;
                ensure!(message.starts_with(code), "it says {message:?}");
                Ok(())
            })?;
        }

        let exposed = self.exposed(name)?;
        ensure!(exposed.is_empty(), "an Ingress serves {exposed}");
        let status = self.field(&format!("workspace/{name}"), ".status.url")?;
        ensure!(status.is_empty(), "it shows the URL {status}");
        Ok(())
    }
}

#[test]
fn nobody_is_reached_at_a_host_of_anothers_zone_or_at_one_that_another_holds() -> Result<()> {
    let [a, b] = [User::of(TENANTS[0])?, User::of(TENANTS[1])?];
    let [bank, rival, evil, copy] = ["bank", "rival", "evil", "copy"].map(unique);
    let dns = json!({"zone": BANK, "name": "login"});
    a.apply(&site(&bank, &dns, "/").to_string())?;
    a.wait_ready(&bank)?;
    let url = a.field(&format!("workspace/{bank}"), ".status.url")?;
    ensure!(visit(&a, &url)?.trim() == bank, "{url} is not the bank's");

    // In a zone that is not theirs, at the bank's own host and below another path of it.
    b.apply(&site(&evil, &dns, "/login").to_string())?;
    b.wait_refused(&evil, "E#6051")?;
    // At a live preview's host in a zone that they do have, where hosts are named by Sequencer.
    let live = json!({"zone": "preview.test", "name": "login"});
    b.apply(&site(&copy, &live, "/login").to_string())?;
    b.wait_refused(&copy, "E#6051")?;
    // The same tenant's second preview of the same name.
    a.apply(&site(&rival, &dns, "/login").to_string())?;
    a.wait_refused(&rival, "E#3020")?;
    let answer = visit(&a, &format!("{url}/login"))?;
    ensure!(
        ![&evil, &rival]
            .iter()
            .any(|other| answer.trim() == other.as_str()),
        "a stranger answers: {answer}"
    );

    // Once the bank goes its host is the rival's.
    a.delete(&bank)?;
    a.wait_ready(&rival)?;
    ensure!(
        visit(&a, &format!("{url}/login"))?.trim() == rival,
        "the rival does not answer"
    );
    a.delete(&rival)?;
    b.delete(&evil)?;
    b.delete(&copy)
}

#[test]
fn a_preview_of_a_zone_that_is_granted_no_more_is_taken_down() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    let name = unique("granted");
    user.apply(&site(&name, &json!({"zone": BANK, "name": "login"}), "/").to_string())?;
    user.wait_ready(&name)?;
    let url = user.field(&format!("workspace/{name}"), ".status.url")?;

    user.install_with(
        &format!("namespaces: [{}]", TENANTS[0]),
        &format!("namespaces: [{}]", TENANTS[1]),
    )?;
    user.wait_refused(&name, "E#6051")?;
    ensure!(!visit(&user, &url)?.contains(&name), "it still answers");

    let left = user
        .cluster
        .kubectl(&["get", "dnsrecords", "--all-namespaces", "-o", "name"])?;
    ensure!(!left.contains(BANK), "its host is not let go: {left}");
    user.cluster
        .install_chart(&user.cluster.installed_values())?;
    user.wait_ready(&name)?;
    ensure!(
        visit(&user, &url)?.trim() == name,
        "it does not answer again"
    );
    user.delete(&name)
}
