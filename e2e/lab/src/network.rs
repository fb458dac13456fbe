//! Links, addresses, routes and mounts of the two nodes. Nothing here touches the host's own, but
//! for its end of one veth pair, which goes when its peer goes.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::layout::{BRIDGE, BUILDS, GENERAL, HOST, Layout, SERVICES, text};
use crate::namespace::Namespace;
use crate::process::output;

/// The host's end of the veth pair.
pub const LINK: &str = "seq-e2e0";
/// The pods of the node `general`.
pub const GENERAL_PODS: &str = "10.244.0.0/24";
/// The pods of the node `builds`.
pub const BUILDS_PODS: &str = "10.244.1.0/24";

fn host(words: &str) -> Result<String> {
    let mut words = words.split(' ');
    output(Command::new(words.next().unwrap_or_default()).args(words))
}

fn inside(namespace: &Namespace, words: &str) -> Result<String> {
    namespace.run(&words.split(' ').collect::<Vec<_>>())
}

/// Whether something else on this host has addresses of ours. Our own link is left behind for a
/// moment when its namespace ends, and does not count.
///
/// # Errors
/// They are taken; the text says by which link.
pub fn check_free() -> Result<()> {
    for line in host("ip -o -4 route show root 198.18.0.0/15")?
        .lines()
        .chain(host("ip -o -4 addr show to 198.18.0.0/15")?.lines())
    {
        if !line.contains(LINK) {
            bail!(
                "the addresses 198.18.0.0/15 are taken on this machine: {line:?}; free them, the cluster has no others"
            );
        }
    }
    Ok(())
}

/// Removes the host's end of the veth pair if it is still there: it goes by itself, but only some
/// time after its peer's namespace.
///
/// # Errors
/// It cannot be removed.
pub fn remove_link() -> Result<()> {
    let there = || Path::new("/sys/class/net").join(LINK).exists();
    let removed = if there() {
        host(&format!("ip link del {LINK}")).map(drop)
    } else {
        Ok(())
    };

    // It may have gone by itself between the two.
    if there() { removed } else { Ok(()) }
}

/// Joins the first node's namespace to the host.
///
/// # Errors
/// A command fails.
pub fn join_host(namespace: &Namespace) -> Result<()> {
    let Some(pid) = namespace.supervisor.pid() else {
        bail!("the supervisor ended")
    };
    remove_link()?;
    host(&format!(
        "ip link add {LINK} type veth peer name eth0 netns {pid}"
    ))?;
    host(&format!("ip addr add {HOST}/24 dev {LINK}"))?;
    host(&format!("ip link set {LINK} up"))?;
    inside(namespace, "ip link set lo up")?;
    for address in std::iter::once(GENERAL).chain(SERVICES) {
        inside(namespace, &format!("ip addr add {address}/24 dev eth0"))?;
    }
    inside(namespace, "ip link set eth0 up")?;
    inside(
        namespace,
        &format!("ip route add default via {HOST} src {GENERAL}"),
    )?;
    inside(namespace, "ip link add nodes0 type bridge")?;
    inside(namespace, &format!("ip addr add {BRIDGE}/24 dev nodes0"))?;
    inside(namespace, "ip link set nodes0 up")?;
    inside(
        namespace,
        &format!("ip route add {BUILDS_PODS} via {BUILDS}"),
    )?;
    inside(namespace, "sysctl -qw net.ipv4.ip_forward=1")?;
    // Without it the answers between two pods of one bridge miss the rules that undo a Service's
    // address. A kernel may have it built in.
    let bridged = host("modprobe br_netfilter");
    if Path::new("/proc/sys/net/bridge").exists() {
        Ok(())
    } else {
        bridged.map(drop)
    }
}

/// Joins the second node's namespace to the first's.
///
/// # Errors
/// A command fails.
pub fn join_node(general: &Namespace, builds: &Namespace) -> Result<()> {
    // A pid of the first namespace: the link is made there.
    let Some(pid) = builds.supervisor.pid() else {
        bail!("the node's supervisor ended")
    };

    // A link of a node that was killed goes with its namespace, a moment later; the new one has a
    // name of its own.
    let link = format!("builds{pid}");
    host(&format!(
        "nsenter --net --target {} ip link add {link} type veth peer name eth0 netns {pid}",
        general.supervisor.pid().unwrap_or_default()
    ))?;
    inside(general, &format!("ip link set {link} master nodes0"))?;
    inside(general, &format!("ip link set {link} up"))?;
    inside(builds, "ip link set lo up")?;
    inside(builds, &format!("ip addr add {BUILDS}/24 dev eth0"))?;
    inside(builds, "ip link set eth0 up")?;
    inside(builds, &format!("ip route add default via {BRIDGE}"))?;
    inside(builds, "sysctl -qw net.ipv4.ip_forward=1")?;
    Ok(())
}

/// Where programs of the nodes write, whatever they are told: each node gets folders of its own
/// there.
pub const COVERED: [&str; 3] = ["/var/log", "/var/lib/kubelet", "/var/lib/cni"];

/// Gives a node's mount namespace its own `/run`, logs and state.
///
/// # Errors
/// A folder cannot be made or a mount fails.
pub fn mount_node(namespace: &Namespace, layout: &Layout, node: &str) -> Result<()> {
    inside(namespace, "mount -t tmpfs -o mode=755 tmpfs /run")?;
    for target in COVERED {
        let source = layout
            .data(node)
            .join(target.trim_start_matches('/').replace('/', "-"));
        std::fs::create_dir_all(&source)?;
        namespace.run(&["mount", "--bind", &text(source), target])?;
    }

    namespace.run(&["hostname", node])?;
    Ok(())
}

/// Lays the cluster's own names, users and certificate authorities over the host's, in the first
/// node's mount namespace; the second node inherits them. An overlay, because the host's files may
/// be links to anywhere.
///
/// # Errors
/// The mount fails.
pub fn mount_etc(namespace: &Namespace, layout: &Layout) -> Result<()> {
    let folders = format!("lowerdir={}:/etc", text(layout.over_etc()));
    namespace.run(&["mount", "-t", "overlay", "overlay", "-o", &folders, "/etc"])?;
    Ok(())
}
