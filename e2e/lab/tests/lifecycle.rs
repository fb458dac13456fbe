//! Up, down, crashes and interrupts of the cluster itself. These tests take the cluster away from
//! all others, so `e2e/test` runs them one by one, after the others.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::cgroup;
use lab::cluster::{Cluster, NODE_BUILDS};
use lab::layout::text;
use lab::network::{COVERED, LINK};
use lab::process::output;
use lab::testing::{self, Harness, PATIENCE, layout};
use lab::until::until;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;

fn command(verb: &str) -> Result<Command> {
    testing::command(env!("CARGO_BIN_EXE_lab"), verb)
}

fn run(verb: &str) -> Result<()> {
    output(&mut command(verb)?).map(drop)
}

/// What a cluster may leave on the machine beside its data, all of it: cgroup folders, links,
/// mounts, packet filter rules, kernel settings, folders, and the processes that name the state
/// folder or run in a pod's cgroup.
fn machine() -> Result<BTreeSet<String>> {
    let state = text(layout()?.state);
    let mut found = BTreeSet::new();
    let mut note = |kind: &str, text: &str| {
        found.insert(format!("{kind}: {text}"));
    };

    let roots = cgroup::roots()?;
    roots
        .iter()
        .filter(|root| root.exists())
        .for_each(|root| note("cgroup", &text(root)));

    let paths = COVERED.iter().copied().chain([
        "/opt/containerd",
        "/usr/libexec/kubernetes",
        "/usr/sbin/policy-rc.d",
    ]);

    paths
        .filter(|path| Path::new(path).exists())
        .for_each(|path| note("path", path));

    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .for_each(|mount| note("mount", mount));

    for (kind, command) in [
        ("link", "ip -o link"),
        ("route", "ip -4 route"),
        ("rules", "nft list ruleset"),
        (
            "network namespace",
            "lsns --noheadings --type net --output NS",
        ),
        ("pid namespace", "lsns --noheadings --type pid --output NS"),
        (
            "setting",
            "sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys",
        ),
    ] {
        let mut words = command.split(' ');
        let said = output(Command::new(words.next().unwrap_or_default()).args(words))?;
        said.lines().for_each(|line| note(kind, line));
    }

    let own = std::fs::read_link("/proc/self/ns/pid")?;

    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        let read = |file: &str| {
            String::from_utf8_lossy(&std::fs::read(folder.join(file)).unwrap_or_default())
                .replace('\0', " ")
        };

        let command = read("cmdline");
        let elsewhere =
            std::fs::read_link(folder.join("ns/pid")).is_ok_and(|namespace| namespace != own);
        let inside = elsewhere
            && (read("environ").contains(&state) || read("cgroup").contains(cgroup::ROOT));
        if inside || command.contains(&format!("supervise --socket {state}")) {
            note("process", &format!("{} {command}", folder.display()));
        }
    }

    Ok(found)
}

/// The cluster works: pods of both nodes are reached through DNS and a Service.
fn works() -> Result<()> {
    let harness = Harness::new("works")?;
    let container = json!({"image": "redis:latest", "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1}});
    let pod = json!({"nodeSelector": {"pool": "builds"}, "tolerations": [{"key": "pool", "operator": "Exists"}]});
    harness.deploy("redis", &container, &pod, &[6379])?;
    harness.wait_rolled_out("redis")?;
    let host = format!("redis.{}.svc.cluster.local", harness.namespace);
    until("redis answers by its name", PATIENCE, || {
        let answer = harness.exec("redis", &format!("redis-cli -h {host} ping"))?;
        ensure!(answer.trim() == "PONG", "{answer}");
        Ok(())
    })
}

#[test]
fn down_leaves_nothing_and_up_works_again() -> Result<()> {
    run("down")?;
    let before = machine()?;
    let ours = |trace: &&String| {
        trace.starts_with("process") || trace.contains(LINK) || trace.contains(cgroup::ROOT)
    };

    ensure!(
        !before.iter().any(|trace| ours(&trace)),
        "left behind: {before:#?}"
    );

    for _ in 0..2 {
        run("up")?;
        works()?;
        let during = machine()?;
        ensure!(
            during.iter().filter(ours).count() > 3,
            "a cluster that is up shows nowhere: this test sees nothing"
        );
        run("down")?;
        assert_eq!(machine()?, before);
    }

    Ok(())
}

#[test]
fn down_of_a_cluster_that_is_not_up_is_no_error() -> Result<()> {
    run("down")?;
    run("down")?;
    let status = command("status")?.output()?;
    ensure!(
        !status.status.success() && String::from_utf8_lossy(&status.stderr).contains("e2e/up"),
        "{status:?}"
    );
    Ok(())
}

#[test]
fn up_works_after_the_supervisor_was_killed_and_data_is_kept() -> Result<()> {
    run("up")?;
    let harness = Harness::new("power-cut")?;
    harness.kubectl(&["create", "configmap", "before", "--from-literal=kept=yes"])?;
    let image = format!("registry.test/{}/pause:latest", harness.namespace);
    let config = tempfile::tempdir()?;

    std::fs::write(
        config.path().join("config.json"),
        harness.log_in_to_registry()?,
    )?;

    let crane = |args: &[&str]| -> Result<String> {
        let program = text(harness.cluster.layout.bin("crane"));
        output(
            harness
                .cluster
                .general
                .command(&[&[program.as_str()], args].concat())?
                .env("DOCKER_CONFIG", config.path()),
        )
    };

    crane(&["copy", "registry-1.docker.io/library/pause:latest", &image])?;
    let digest = crane(&["digest", &image])?;

    harness.cluster.general.kill()?;
    run("up")?;
    assert_eq!(harness.field("configmap/before", ".data.kept")?, "yes");
    assert_eq!(crane(&["digest", &image])?, digest);
    works()
}

#[test]
fn a_part_that_crashed_shows_in_status_and_up_starts_it() -> Result<()> {
    run("up")?;
    let cluster = Cluster::new(layout()?);
    cluster.general.supervisor.kill("scheduler")?;
    let status = command("status")?.output()?;
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(
        !status.status.success() && said.contains("killed by SIGKILL"),
        "{said}"
    );
    run("up")?;
    ensure!(
        command("status")?.output()?.status.success(),
        "not all is ready after up"
    );
    works()
}

#[test]
fn a_dead_node_loses_its_pods_to_the_other_and_comes_back() -> Result<()> {
    run("up")?;
    let harness = Harness::new("dead-node")?;
    let prefers = json!({
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100, "preference": {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["builds"]}]},
        }]}},
    });
    harness.deploy("wanderer", &json!({"image": "redis:latest"}), &prefers, &[])?;
    harness.wait_rolled_out("wanderer")?;
    let where_is_it =
        || harness.field("pods", ".items[?(@.status.phase=='Running')].spec.nodeName");
    assert_eq!(where_is_it()?, "builds");

    harness.cluster.general.supervisor.kill(NODE_BUILDS)?;
    let died = Instant::now();
    harness.wait_field(
        "node/builds",
        ".status.conditions[?(@.type=='Ready')].status",
        "Unknown",
    )?;
    until("the pod runs on the other node", PATIENCE, || {
        let nodes = harness.field(
            "pods",
            ".items[?(@.status.containerStatuses[0].ready==true)].spec.nodeName",
        )?;
        ensure!(
            nodes.split(' ').any(|node| node == "general"),
            "it runs on {nodes:?}"
        );
        Ok(())
    })?;
    let took = died.elapsed();
    ensure!(took < Duration::from_secs(60), "it took {took:?}");

    run("up")?;
    harness.wait_field(
        "node/builds",
        ".status.conditions[?(@.type=='Ready')].status",
        "True",
    )?;
    works()
}

#[test]
fn up_goes_on_after_an_interrupt_at_any_moment() -> Result<()> {
    // Once from nothing, when certificates, repositories and images are made; then with what is
    // there.
    for (purge, times) in [(true, 1), (false, 2)] {
        let down = || output(command("down")?.args(purge.then_some("--purge")));
        down()?;
        let begun = Instant::now();
        run("up")?;
        let whole = begun.elapsed();

        for _ in 0..times {
            down()?;
            let moment = whole.mul_f64(rand::random());
            interrupted_up(moment)
                .and_then(|()| run("up"))
                .and_then(|()| works())
                .with_context(|| {
                    format!("after an interrupt at {moment:?} of {whole:?}, purge: {purge}")
                })?;
        }
    }
    Ok(())
}

/// An `up` that is interrupted at this moment, unless it has ended before.
fn interrupted_up(moment: Duration) -> Result<()> {
    let mut up = command("up")?
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let ended = until("it ends", moment, || up.try_wait()?.context("it runs"));
    if ended.is_err() {
        killpg(Pid::from_raw(i32::try_from(up.id())?), Signal::SIGINT)?;
        up.wait()?;
    }

    Ok(())
}
