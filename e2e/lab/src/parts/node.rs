//! What makes a node: containerd, kubelet and kube-proxy.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use minijinja::context;

use super::control_plane::{kubeconfig, server};
use crate::cgroup;
use crate::layout::{BUILDS, CLUSTER_DNS, GENERAL, Layout, at, text};
use crate::network::{BUILDS_PODS, GENERAL_PODS};
use crate::part::{Part, Ready};

/// A node of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its name in Kubernetes.
    pub name: &'static str,
    pub address: Ipv4Addr,
    pods: &'static str,
    labels: &'static str,
    taints: &'static str,
}

/// Runs what has no other place.
pub const GENERAL_NODE: Node = Node {
    name: "general",
    address: GENERAL,
    pods: GENERAL_PODS,
    labels: "sequencer.test/node=general",
    taints: "[]",
};

/// Runs builders: labelled for them, and tainted against everything else.
pub const BUILDS_NODE: Node = Node {
    name: "builds",
    address: BUILDS,
    pods: BUILDS_PODS,
    labels: "pool=builds",
    taints: "[{key: pool, value: builds, effect: NoSchedule}]",
};

/// Asks containerd what kubelet asks it at its start (runtime.v1 Version, an empty message in
/// gRPC's frame): with many pods to find again the socket is there long before the answer, and
/// without one kubelet ends.
const ANSWERS: &str = "printf '\\0\\0\\0\\0\\0' | curl -s -i -m 2 --http2-prior-knowledge --data-binary @- \
    -H 'content-type: application/grpc' -H 'te: trailers' --unix-socket /run/containerd/containerd.sock \
    http://localhost/runtime.v1.RuntimeService/Version | grep -aq 'grpc-status: 0'";

impl Node {
    /// The node's parts, in the order to start them.
    ///
    /// # Errors
    /// A configuration file or folder cannot be written.
    pub fn parts(&self, layout: &Layout) -> Result<Vec<Part>> {
        Ok(vec![
            self.containerd(layout)?,
            self.kubelet(layout)?,
            self.kube_proxy(layout)?,
        ])
    }

    fn file(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    fn folder(&self, layout: &Layout, name: &str) -> Result<PathBuf> {
        let folder = layout.data(self.name).join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn containerd(&self, layout: &Layout) -> Result<Part> {
        let cni = layout.etc().join(self.file("cni"));
        std::fs::create_dir_all(&cni)?;
        std::fs::write(
            cni.join("pods.conflist"),
            layout.render("cni.conflist", context! { pods => self.pods })?,
        )?;

        let values =
            context! { root => text(self.folder(layout, "containerd")?), cni => text(cni) };
        let config = layout.configure(&self.file("containerd.toml"), "containerd.toml", values)?;
        let ready = Ready::Command(["sh", "-c", ANSWERS].map(Into::into).into());

        Part::new(
            self.file("containerd"),
            "/usr/bin/containerd",
            ["--config".into(), text(&config)],
            ready,
        )
        .reads([config])
    }

    fn kubelet(&self, layout: &Layout) -> Result<Part> {
        let user = self.certificate();
        let values = context! {
            address => self.address.to_string(), ca => text(layout.pki("ca.crt")), dns => CLUSTER_DNS.to_string(),
            cgroup => format!("{}/{}", cgroup::ROOT, self.name), taints => self.taints,
            certificate => text(layout.pki(&format!("{user}.crt"))), key => text(layout.pki(&format!("{user}.key"))),
            plugins => text(self.folder(layout, "kubelet-plugins")?),
        };

        let config = layout.configure(&self.file("kubelet.yaml"), "kubelet.yaml", values)?;
        let args = [
            format!("--config={}", text(&config)),
            format!(
                "--kubeconfig={}",
                text(kubeconfig(layout, &user, server())?)
            ),
            format!("--root-dir={}", text(self.folder(layout, "kubelet")?)),
            format!(
                "--cert-dir={}",
                text(self.folder(layout, "kubelet-certificates")?)
            ),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.address),
            format!("--node-labels={}", self.labels),
        ];

        Part::new(
            self.file("kubelet"),
            layout.bin("kubelet"),
            args,
            Ready::Tcp(at(self.address, 10250)),
        )
        .patience(60)
        .reads([config])
    }

    fn kube_proxy(&self, layout: &Layout) -> Result<Part> {
        let values = context! {
            kubeconfig => text(kubeconfig(layout, "proxy", server())?), address => self.address.to_string(), node => self.name,
        };

        let config = layout.configure(&self.file("kube-proxy.yaml"), "kube-proxy.yaml", values)?;
        let args = ["--config".into(), text(config)];

        Ok(Part::new(
            self.file("kube-proxy"),
            layout.bin("kube-proxy"),
            args,
            Ready::Tcp(at(self.address, 10256)),
        ))
    }

    /// The file name of its certificate in [`crate::pki`].
    fn certificate(&self) -> String {
        format!("kubelet-{}", self.name)
    }
}
