//! etcd and the Kubernetes control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use minijinja::context;

use crate::layout::{GENERAL, Layout, at, text};
use crate::part::{Part, Ready};

/// etcd of one member, without TLS, so only ever on a loopback address: port 2379 for clients, 2380
/// for peers.
#[must_use]
pub fn etcd(layout: &Layout, address: SocketAddr) -> Part {
    let (clients, peers) = (
        format!("http://{address}"),
        format!("http://{}:2380", address.ip()),
    );
    let args = [
        "--name=etcd".into(),
        format!("--data-dir={}", text(layout.data("etcd"))),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=etcd={peers}"),
        "--log-level=warn".into(),
    ];
    Part::new("etcd", layout.bin("etcd"), args, Ready::Tcp(address))
}

/// The API server, with its audit log in the folder of logs.
///
/// # Errors
/// A configuration file cannot be written.
pub fn apiserver(layout: &Layout, address: SocketAddr, etcd: SocketAddr) -> Result<Part> {
    let pki = |file: &str| text(layout.pki(file));
    let audit = layout.configure("audit.yaml", "audit.yaml", ())?;
    // A loopback address is no endpoint for pods.
    let reconciler = if address.ip().is_loopback() {
        "none"
    } else {
        "lease"
    };
    let args = [
        format!("--advertise-address={}", address.ip()),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        format!("--endpoint-reconciler-type={reconciler}"),
        format!("--etcd-servers=http://{etcd}"),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!(
            "--kubelet-client-certificate={}",
            pki("apiserver-kubelet.crt")
        ),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            pki("service-accounts.key")
        ),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        // A pod leaves a dead node at once, so that tests need not wait five minutes.
        "--default-not-ready-toleration-seconds=5".into(),
        "--default-unreachable-toleration-seconds=5".into(),
        format!("--audit-log-path={}", text(layout.logs().join("audit.log"))),
        "--audit-log-maxsize=200".into(),
        "--audit-log-maxbackup=2".into(),
        format!("--audit-policy-file={}", text(&audit)),
    ];
    kubeconfig(layout, "admin", address)?;
    // It is asked ten times a second, and kubectl takes a tenth of a second to start.
    let (ca, cert, key) = (pki("ca.crt"), pki("admin.crt"), pki("admin.key"));
    let url = format!("https://{address}/readyz");
    let ask = [
        "curl",
        "--silent",
        "--fail",
        "--max-time",
        "2",
        "--cacert",
        &ca,
        "--cert",
        &cert,
        "--key",
        &key,
        &url,
    ];
    let ready = Ready::Command(ask.map(Into::into).into());
    Part::new("apiserver", layout.bin("kube-apiserver"), args, ready)
        .patience(90)
        .reads([audit])
}

/// Writes a kubeconfig for the certificate `user` and returns where.
///
/// # Errors
/// The file cannot be written.
pub fn kubeconfig(layout: &Layout, user: &str, server: SocketAddr) -> Result<PathBuf> {
    let values = context! {
        server => server.to_string(), ca => text(layout.pki("ca.crt")), user,
        certificate => text(layout.pki(&format!("{user}.crt"))), key => text(layout.pki(&format!("{user}.key"))),
    };
    layout.configure(&format!("{user}.kubeconfig"), "kubeconfig.yaml", values)
}

/// The API server of the cluster.
#[must_use]
pub fn server() -> SocketAddr {
    at(GENERAL, 6443)
}

/// The control plane of the cluster, in the order to start it.
///
/// # Errors
/// A configuration file cannot be written.
pub fn parts(layout: &Layout) -> Result<Vec<Part>> {
    Ok(vec![
        etcd(layout, local(2379)),
        apiserver(layout, server(), local(2379))?,
        controllers(layout, server())?,
        scheduler(layout)?,
    ])
}

/// The flags by which a component finds the API server and lets it ask back.
fn as_client(
    layout: &Layout,
    user: &str,
    server: SocketAddr,
) -> Result<impl Iterator<Item = String>> {
    let kubeconfig = text(kubeconfig(layout, user, server)?);
    let flags = [
        "kubeconfig",
        "authentication-kubeconfig",
        "authorization-kubeconfig",
    ];

    Ok(flags
        .into_iter()
        .map(move |flag| format!("--{flag}={kubeconfig}")))
}

/// The controllers of the API server that a kubeconfig is for.
///
/// # Errors
/// A configuration file cannot be written.
pub fn controllers(layout: &Layout, server: SocketAddr) -> Result<Part> {
    // Where nobody else has it.
    let address = if server.ip().is_loopback() {
        server.ip()
    } else {
        local(0).ip()
    };
    let args = [
        format!("--bind-address={address}"),
        format!("--root-ca-file={}", text(layout.pki("ca.crt"))),
        format!(
            "--service-account-private-key-file={}",
            text(layout.pki("service-accounts.key"))
        ),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        format!(
            "--flex-volume-plugin-dir={}",
            text(layout.data("flex-volumes"))
        ),
        // Pod networks are fixed per node by their CNI configuration.
        "--allocate-node-cidrs=false".into(),
        "--node-monitor-period=1s".into(),
        "--node-monitor-grace-period=10s".into(),
    ];
    let args = as_client(layout, "controller-manager", server)?.chain(args);
    let program = layout.bin("kube-controller-manager");
    Ok(Part::new(
        "controller-manager",
        program,
        args,
        Ready::Tcp((address, 10257).into()),
    ))
}

fn scheduler(layout: &Layout) -> Result<Part> {
    let args = [
        "--bind-address=127.0.0.1".into(),
        "--leader-elect=false".into(),
    ];
    let args = as_client(layout, "scheduler", server())?.chain(args);
    Ok(Part::new(
        "scheduler",
        layout.bin("kube-scheduler"),
        args,
        Ready::Tcp(local(10259)),
    ))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
