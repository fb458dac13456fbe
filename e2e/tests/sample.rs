//! The sample, from `kubectl create` to an answer, and to nothing left.

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::Cluster;
use e2e::layout::{CLOUDFLARE_API, text};
use e2e::parts::cloudflare::ADMIN_PORT;
use e2e::process::output;
use e2e::progress::Progress;
use e2e::release::NAMESPACE;
use e2e::sample::{FILE, LABEL};
use e2e::secrets::Secrets;
use e2e::testing::{PATIENCE, layout};
use e2e::until::until;
use serde_json::Value;

struct Walk {
    cluster: Cluster,
    secrets: Secrets,
}

impl Walk {
    fn new() -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let secrets = Secrets::ensure(&cluster.layout)?;
        Ok(Self { cluster, secrets })
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut words = vec!["-n", NAMESPACE];
        words.extend(args);
        self.cluster.kubectl(&words)
    }

    fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// The two counters of the application, as a visitor sees them: by the cluster's DNS, the edge and the tunnel.
    fn clicks(&self, url: &str) -> Result<Value> {
        let authority = text(self.cluster.layout.pki("ca.crt"));
        let answer =
            self.cluster.general.run(&["curl", "-sS", "--fail-with-body", "-m", "10", "--cacert", &authority, url])?;
        serde_json::from_str(&answer).with_context(|| format!("{url} answered {answer}"))
    }

    /// What lives at Cloudflare.
    fn live(&self) -> Result<String> {
        admin("live")
    }

    /// Applies the sample under a name of its own: `apply` cannot generate one.
    fn apply(&self, name: &str) -> Result<()> {
        let sample = std::fs::read_to_string(self.cluster.layout.repository.join(FILE))?;
        let named = sample.replace("generateName: workspace-sample-", &format!("name: {name}"));
        ensure!(named != sample, "the sample's name is not where it was");
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), named.replace("$(YOUR_ACCOUNT_ID)", &self.secrets.cloudflare_account))?;
        self.cluster.kubectl(&["apply", "-f", &text(file.path())]).map(drop)
    }

    fn wait_ready(&self, name: &str) -> Result<()> {
        let ready = ["wait", &format!("workspace/{name}"), "--for=condition=Ready", "--timeout=300s"];
        self.kubectl(&ready).map(drop).map_err(|error| {
            let shown = self.kubectl(&["describe", "workspace", name]);
            error.context(shown.unwrap_or_default())
        })
    }
}

/// A page of the stand-in's admin port.
fn admin(page: &str) -> Result<String> {
    output(std::process::Command::new("curl").args([
        "-sS",
        "--fail",
        &format!("http://{CLOUDFLARE_API}:{ADMIN_PORT}/{page}"),
    ]))
}

#[test]
fn the_sample_is_ready_counts_by_dns_and_tunnel_and_is_made_only_once() -> Result<()> {
    let walk = Walk::new()?;
    let url = walk.cluster.provide_sample(&Progress::default())?;
    let (first, second) = (walk.clicks(&url)?, walk.clicks(&url)?);
    for counter in ["mysql", "redis"] {
        let count = |clicks: &Value| {
            clicks.get(counter).and_then(Value::as_u64).with_context(|| format!("no {counter}: {clicks}"))
        };
        ensure!(count(&second)? > count(&first)?, "{second} after {first}");
    }
    assert_eq!(walk.cluster.provide_sample(&Progress::default())?, url);
    let all = walk.kubectl(&["get", "workspaces", "-l", LABEL, "-o", "name"])?;
    assert_eq!(all.lines().count(), 1, "{all}");

    // The columns tell the story.
    let name = all.trim();
    let row = walk.kubectl(&["get", name, "--no-headers"])?;
    let columns: Vec<_> = row.split_whitespace().collect();
    assert_eq!(columns.get(1..5), Some(&["True", "Healthy", "3/3", url.as_str()][..]), "{row}");
    let commit = walk.field(name, ".status.commit")?;
    assert_eq!(second.get("commit").and_then(Value::as_str).and_then(|whole| whole.get(..12)), Some(commit.as_str()));
    Ok(())
}

#[test]
fn a_workspace_that_is_deleted_leaves_nothing_and_applied_again_has_the_same_url_without_a_build() -> Result<()> {
    let walk = Walk::new()?;
    let name = "walk";
    walk.apply(name)?;
    walk.wait_ready(name)?;
    let (object, uid) = (format!("workspace/{name}"), walk.field(&format!("workspace/{name}"), ".metadata.uid")?);
    let url = walk.field(&object, ".status.url")?;
    walk.clicks(&url)?;
    ensure!(walk.live()?.contains(&uid), "no tunnel carries the Workspace's uid");
    walk.kubectl(&["delete", &object, "--timeout=120s"])?;
    let live = walk.live()?;
    let host = url.trim_start_matches("https://");
    ensure!(!live.contains(&uid) && !live.contains(host), "something is left: {live}");
    let selector = format!("se.quencer.io/ws-uid={uid}");
    until("nothing of it is left in the cluster", PATIENCE, || {
        let kinds = "components,builds,dnsrecords,deployments,services,secrets,networkpolicies,pods";
        let left = walk.cluster.kubectl(&["get", kinds, "--all-namespaces", "-l", &selector, "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;

    walk.apply(name)?;
    walk.wait_ready(name)?;
    assert_eq!(walk.field(&object, ".status.url")?, url);
    let builds = walk.kubectl(&[
        "get",
        "builds",
        "-l",
        "se.quencer.io/workspace=walk",
        "-o",
        "jsonpath={.items[*].status.image.steps}{.items[*].status.image.cachedSteps}",
    ])?;
    ensure!(builds.is_empty(), "it was built again: {builds}");
    walk.kubectl(&["delete", &object, "--timeout=120s"]).map(drop)
}
