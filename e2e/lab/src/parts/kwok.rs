//! KWOK, which plays the kubelet for nodes that exist in the API only: for tests of scale and
//! placement.

use anyhow::Result;

use super::control_plane::{kubeconfig, server};
use crate::layout::{GENERAL, Layout, at, text};
use crate::part::{Part, Ready};

/// The annotation, with the value `fake`, of the nodes that it manages.
pub const ANNOTATION: &str = "kwok.x-k8s.io/node";

pub const NAME: &str = "kwok";

/// How long, in seconds, a node counts as alive. It is renewed four times in that time, as a
/// kubelet renews its own.
const LEASE: u32 = 8;

/// The part.
///
/// # Errors
/// Its kubeconfig cannot be written.
pub fn part(layout: &Layout) -> Result<Part> {
    let address = at(GENERAL, 10247);
    let args = [
        format!(
            "--kubeconfig={}",
            text(kubeconfig(layout, "kwok", server())?)
        ),
        "--manage-all-nodes=false".into(),
        format!("--manage-nodes-with-annotation-selector={ANNOTATION}=fake"),
        "--node-ip=192.0.2.1".into(),
        "--cidr=192.0.2.0/24".into(),
        // By itself it writes to a node every ten seconds or more, and that is when its node is
        // taken for lost here.
        format!("--node-lease-duration-seconds={LEASE}"),
        "--config=".into(),
        format!("--server-address={address}"),
    ];

    Ok(Part::new(
        NAME,
        layout.bin("kwok"),
        args,
        Ready::Tcp(address),
    ))
}
