//! Up, down, crashes and interrupts of the cluster itself. These tests take the cluster away from all others, so
//! `e2e/test` runs them one by one, after the others.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::cgroup;
use e2e::cluster::Cluster;
use e2e::layout::text;
use e2e::network::LINK;
use e2e::process::output;
use e2e::testing::{PATIENCE, Scene, layout};
use e2e::until::until;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

/// The command with this test's layout, in a process group of its own as a shell would start it.
fn command(verb: &str) -> Result<Command> {
    let layout = layout()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_e2e"));
    command.arg(verb).env("SEQUENCER_E2E_REPOSITORY", &layout.repository).env("SEQUENCER_E2E_STATE", &layout.state);
    command.env("SEQUENCER_E2E_CACHE", &layout.cache).stdin(Stdio::null()).process_group(0);
    Ok(command)
}

fn run(verb: &str) -> Result<()> {
    output(&mut command(verb)?).map(drop)
}

/// What a cluster has on the machine beside its data.
fn traces_on_machine() -> Result<BTreeSet<String>> {
    let layout = layout()?;
    let state = text(&layout.state);
    let mut found = BTreeSet::new();
    let mut note = |kind: &str, text: String| found.insert(format!("{kind}: {text}"));
    for root in cgroup::roots()?.iter().filter(|root| root.exists()) {
        note("cgroup", text(root));
    }
    for line in output(Command::new("ip").args(["-o", "link"]))?.lines().filter(|line| line.contains(LINK)) {
        note("link", line.into());
    }
    for line in std::fs::read_to_string("/proc/self/mountinfo")?.lines().filter(|line| line.contains(&state)) {
        note("mount", line.into());
    }
    for line in output(Command::new("nft").args(["list", "tables"]))?.lines() {
        note("rules", line.into());
    }
    // Every program of the cluster names the state folder in its command line or environment, or runs in a pod's cgroup.
    let own = std::fs::read_link("/proc/self/ns/pid")?;
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        let read = |file: &str| {
            String::from_utf8_lossy(&std::fs::read(folder.join(file)).unwrap_or_default()).replace('\0', " ")
        };
        let command = read("cmdline");
        let elsewhere = std::fs::read_link(folder.join("ns/pid")).is_ok_and(|namespace| namespace != own);
        let inside = elsewhere && (read("environ").contains(&state) || read("cgroup").contains(cgroup::ROOT));
        if inside || command.contains(&format!("supervise --socket {state}")) {
            note("process", format!("{} {command}", folder.display()));
        }
    }
    Ok(found)
}

/// The cluster works: pods of both nodes are reached through DNS and a Service.
fn works() -> Result<()> {
    let scene = Scene::new("works")?;
    let container =
        json!({"image": "redis:latest", "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1}});
    let pod = json!({"nodeSelector": {"pool": "builds"}, "tolerations": [{"key": "pool", "operator": "Exists"}]});
    scene.deploy("redis", &container, &pod, &[6379])?;
    scene.wait_rolled_out("redis")?;
    let host = format!("redis.{}.svc.cluster.local", scene.namespace);
    until("redis answers by its name", PATIENCE, || {
        let answer = scene.exec("redis", &format!("redis-cli -h {host} ping"))?;
        ensure!(answer.trim() == "PONG", "{answer}");
        Ok(())
    })
}

#[test]
fn down_leaves_nothing_and_up_works_again() -> Result<()> {
    run("up")?;
    ensure!(!traces_on_machine()?.is_empty(), "a cluster that is up shows nowhere: this test sees nothing");
    run("down")?;
    let first = traces_on_machine()?;
    ensure!(first.iter().all(|trace| trace.starts_with("rules: ")), "left behind: {first:#?}");
    run("up")?;
    works()?;
    run("down")?;
    assert_eq!(traces_on_machine()?, first, "left behind by the second");
    run("up")?;
    works()
}

#[test]
fn down_of_a_cluster_that_is_not_up_is_no_error() -> Result<()> {
    run("down")?;
    run("down")?;
    let status = command("status")?.output()?;
    ensure!(!status.status.success() && String::from_utf8_lossy(&status.stderr).contains("e2e/up"), "{status:?}");
    run("up")
}

#[test]
fn up_works_after_the_supervisor_was_killed() -> Result<()> {
    run("up")?;
    let cluster = Cluster::new(layout()?);
    cluster.kubectl(&["create", "configmap", "before", "--dry-run=client", "-o", "yaml"])?;
    let pid = cluster.general.supervisor.pid().context("no supervisor")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    cluster.general.wait_gone()?;
    run("up")?;
    works()
}

#[test]
fn a_part_that_crashed_shows_in_status_and_up_starts_it() -> Result<()> {
    run("up")?;
    let cluster = Cluster::new(layout()?);
    cluster.general.supervisor.kill("scheduler")?;
    let status = command("status")?.output()?;
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(!status.status.success() && said.contains("killed by SIGKILL"), "{said}");
    run("up")?;
    ensure!(command("status")?.output()?.status.success(), "not all is ready after up");
    works()
}

#[test]
fn a_dead_node_loses_its_pods_to_the_other_and_comes_back() -> Result<()> {
    run("up")?;
    let scene = Scene::new("dead-node")?;
    let prefers = json!({
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100, "preference": {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["builds"]}]},
        }]}},
    });
    scene.deploy("wanderer", &json!({"image": "redis:latest"}), &prefers, &[])?;
    scene.wait_rolled_out("wanderer")?;
    let where_is_it = || scene.field("pods", ".items[?(@.status.phase=='Running')].spec.nodeName");
    assert_eq!(where_is_it()?, "builds");

    scene.cluster.general.supervisor.kill("node-builds")?;
    let died = Instant::now();
    scene.wait_field("node/builds", ".status.conditions[?(@.type=='Ready')].status", "Unknown")?;
    until("the pod runs on the other node", PATIENCE, || {
        let nodes = scene.field("pods", ".items[?(@.status.containerStatuses[0].ready==true)].spec.nodeName")?;
        ensure!(nodes.split(' ').any(|node| node == "general"), "it runs on {nodes:?}");
        Ok(())
    })?;
    let took = died.elapsed();
    ensure!(took < Duration::from_secs(60), "it took {took:?}");

    run("up")?;
    scene.wait_field("node/builds", ".status.conditions[?(@.type=='Ready')].status", "True")?;
    works()
}

/// Waits for the process, but not longer than this.
fn wait_for(child: &mut Child, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    Ok(until("it ends", patience, || {
        ensure!(child.try_wait()?.is_some() || Instant::now() >= deadline, "it runs");
        Ok(())
    })
    .is_ok()
        && child.try_wait()?.is_some())
}

#[test]
fn up_goes_on_after_an_interrupt_at_any_moment() -> Result<()> {
    for _ in 0..3 {
        run("down")?;
        let moment = Duration::from_millis(rand::random_range(0..8_000));
        let mut up = command("up")?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        if !wait_for(&mut up, moment)? {
            killpg(Pid::from_raw(i32::try_from(up.id())?), Signal::SIGINT)?;
            up.wait()?;
        }
        run("up").with_context(|| format!("after an interrupt at {moment:?}"))?;
        works().with_context(|| format!("after an interrupt at {moment:?}"))?;
    }
    Ok(())
}
