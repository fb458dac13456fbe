//! Everything that may break breaks while previews are on their way, and each of them becomes
//! ready.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::cluster::NODE_BUILDS;
use lab::parts::control_plane;
use lab::release::{NAMESPACE, TENANTS};
use lab::testing::{PATIENCE, program};
use lab::until::until;
use serde_json::Value;

use crate::stage::{Stage, reach};
use crate::user::{User, unique};

/// How long something stays away.
const AWAY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Break {
    /// NATS loses all that it holds.
    Wipe,
    /// NATS is away for a while.
    Bus,
    /// A service dies of SIGKILL.
    Service(&'static str),
    /// etcd and the API server die, and are started again.
    ControlPlane,
    /// The builders' node is lost for a while.
    Node,
}

/// How far the newest preview is when something breaks. Those before are further.
const BREAKS: [(Stage, Break); 9] = [
    (Stage::Building, Break::Wipe),
    (Stage::Applied, Break::Service("watcher")),
    (Stage::Building, Break::Service("builder")),
    (Stage::Pushing, Break::Service("registry-pusher")),
    (Stage::Applied, Break::Service("network")),
    (Stage::Pushing, Break::Service("deployer")),
    (Stage::TunnelMade, Break::ControlPlane),
    (Stage::Applied, Break::Bus),
    (Stage::Building, Break::Node),
];

impl Break {
    fn happen(self, user: &User) -> Result<()> {
        let cluster = &user.cluster;
        let release = |args: &[&str]| {
            cluster
                .kubectl(&[&["-n", NAMESPACE], args].concat())
                .map(drop)
        };
        match self {
            // The store is the pod's own.
            Self::Wipe => release(&["delete", "pod", "nats-0", "--now"]),
            Self::Bus => {
                release(&["scale", "statefulset/nats", "--replicas=0"])?;
                release(&["wait", "pod/nats-0", "--for=delete", "--timeout=60s"])?;
                pass(AWAY)?;
                release(&["scale", "statefulset/nats", "--replicas=1"])
            }
            Self::Service(name) => kill(user, name),
            Self::ControlPlane => {
                let supervisor = &cluster.general.supervisor;
                ["etcd", "apiserver"]
                    .iter()
                    .try_for_each(|part| supervisor.kill(part))?;
                let parts = control_plane::parts(&cluster.layout)?;
                parts
                    .into_iter()
                    .try_for_each(|part| supervisor.start(part))
            }
            Self::Node => {
                cluster.general.supervisor.kill(NODE_BUILDS)?;
                pass(AWAY)?;
                cluster.start_builds(&program()?)
            }
        }
    }
}

/// Kills the processes of a service's containers.
fn kill(user: &User, service: &str) -> Result<()> {
    let selector = format!("se.quencer.io/part={service}");
    let path = "jsonpath={.items[*].status.containerStatuses[0].containerID}";
    let containers = user.cluster.kubectl(&[
        "get",
        "pods",
        "--all-namespaces",
        "-l",
        &selector,
        "-o",
        path,
    ])?;
    ensure!(!containers.is_empty(), "no pod of {service}");
    // A container that ended meanwhile has no process, and a process that ends here is as good as
    // killed.
    let script = "pids=$(grep -ls \"$0\" /proc/[0-9]*/cgroup | cut -d/ -f3); [ -z \"$pids\" ] || kill -KILL $pids; echo $pids";
    let mut killed = String::new();

    for container in containers.split(' ') {
        killed += &user.cluster.general.run(&[
            "sh",
            "-c",
            script,
            container.trim_start_matches("containerd://"),
        ])?;
    }

    ensure!(!killed.trim().is_empty(), "{service} has no process");
    Ok(())
}

fn pass(time: Duration) -> Result<()> {
    let begun = Instant::now();
    until("the time is over", time * 2, || {
        ensure!(begun.elapsed() >= time, "it is not");
        Ok(())
    })
}

/// Every key of a Build of these Workspaces, with the digests that were published for it.
fn published(user: &User, names: &[String]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let selector = format!("se.quencer.io/workspace in ({})", names.join(","));
    let list: Value =
        serde_json::from_str(&user.kubectl(&["get", "builds", "-l", &selector, "-o", "json"])?)?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();

    for build in list["items"].as_array().context("no list")? {
        let word = |path: &str| {
            build
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        found
            .entry(word("/status/image/key"))
            .or_default()
            .insert(word("/status/publish/image"));
    }

    Ok(found)
}

#[test]
fn previews_become_ready_whatever_breaks_on_their_way() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    let mut previews = Vec::new();

    for (stage, broken) in BREAKS {
        let name = unique(&format!("{stage:?}").to_lowercase());
        reach(&user, &name, stage).with_context(|| format!("before {broken:?}"))?;
        broken
            .happen(&user)
            .with_context(|| format!("{broken:?}"))?;
        previews.push((name, broken));
    }

    for (name, broken) in &previews {
        user.wait_ready(name)
            .with_context(|| format!("{broken:?} came on its way"))?;
    }

    let names: Vec<_> = previews.iter().map(|(name, _)| name.clone()).collect();
    for (key, digests) in published(&user, &names)? {
        ensure!(digests.len() == 1, "{key} was published as {digests:?}");
    }

    let mut marks = Vec::new();

    for (name, broken) in &previews {
        let (uid, host) = user.marks(name)?;
        user.clicks(&format!("https://{host}"))?;
        for mark in [&uid, &host] {
            let [made, deleted] = user.made_and_deleted(mark)?;
            ensure!(
                made - deleted == 1,
                "{broken:?}: of {mark} {made} were made and {deleted} deleted"
            );
        }

        marks.push((uid, host));
    }

    user.kubectl(
        &[
            &["delete", "workspace", "--timeout=120s"][..],
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
        ]
        .concat(),
    )?;

    marks
        .iter()
        .try_for_each(|(uid, host)| user.wait_gone(uid, host))?;

    until("every part is well", PATIENCE, || {
        let ill: Vec<_> = user
            .cluster
            .status()?
            .into_iter()
            .filter(|part| !part.ready)
            .map(|part| part.name)
            .collect();
        ensure!(ill.is_empty(), "{ill:?}");
        Ok(())
    })
}
