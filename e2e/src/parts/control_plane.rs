//! etcd and the Kubernetes control plane.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use minijinja::context;

use crate::layout::{GENERAL, Layout, at, text};
use crate::part::{Part, Ready};

/// Where etcd listens; nothing outside the first node's namespace reaches it.
const ETCD: &str = "127.0.0.1:2379";
const ETCD_PEERS: &str = "127.0.0.1:2380";

/// etcd of one member, without TLS, so only ever on a loopback address.
#[must_use]
pub fn etcd(program: &Path, data: &Path, clients: &str, peers: &str) -> Part {
    let args = [
        "--name=etcd".to_owned(),
        format!("--data-dir={}", text(data)),
        format!("--listen-client-urls=http://{clients}"),
        format!("--advertise-client-urls=http://{clients}"),
        format!("--listen-peer-urls=http://{peers}"),
        format!("--initial-advertise-peer-urls=http://{peers}"),
        format!("--initial-cluster=etcd=http://{peers}"),
        "--log-level=warn".to_owned(),
    ];
    let ready = clients.parse().map_or(Ready::Command(vec!["false".into()]), Ready::Tcp);
    Part::new("etcd", program, args, ready)
}

/// What one API server needs to know.
#[derive(Debug)]
pub struct ApiServer<'a> {
    /// `kube-apiserver`.
    pub program: PathBuf,
    /// `kubectl`, which asks whether it is ready.
    pub kubectl: PathBuf,
    /// The kubeconfig to ask with.
    pub kubeconfig: PathBuf,
    /// The address it serves and advertises.
    pub address: SocketAddr,
    /// etcd's client address.
    pub etcd: &'a str,
    /// The folder of [`crate::pki`].
    pub pki: PathBuf,
    /// Where the audit log goes, and by which policy.
    pub audit: (PathBuf, PathBuf),
}

impl ApiServer<'_> {
    /// The part.
    #[must_use]
    pub fn part(&self) -> Part {
        let pki = |file: &str| text(self.pki.join(file));
        let args = [
            "--advertise-address".into(),
            self.address.ip().to_string(),
            "--secure-port".into(),
            self.address.port().to_string(),
            "--etcd-servers".into(),
            format!("http://{}", self.etcd),
            "--service-cluster-ip-range".into(),
            "10.96.0.0/16".into(),
            "--tls-cert-file".into(),
            pki("apiserver.crt"),
            "--tls-private-key-file".into(),
            pki("apiserver.key"),
            "--client-ca-file".into(),
            pki("ca.crt"),
            "--kubelet-certificate-authority".into(),
            pki("ca.crt"),
            "--kubelet-client-certificate".into(),
            pki("apiserver-kubelet.crt"),
            "--kubelet-client-key".into(),
            pki("apiserver-kubelet.key"),
            "--kubelet-preferred-address-types".into(),
            "InternalIP".into(),
            "--service-account-issuer".into(),
            "https://kubernetes.default.svc.cluster.local".into(),
            "--service-account-key-file".into(),
            pki("service-accounts.pub"),
            "--service-account-signing-key-file".into(),
            pki("service-accounts.key"),
            "--authorization-mode".into(),
            "Node,RBAC".into(),
            "--enable-admission-plugins".into(),
            "NodeRestriction".into(),
            "--allow-privileged=true".into(),
            // A pod leaves a dead node at once, so that tests need not wait five minutes.
            "--default-not-ready-toleration-seconds=5".into(),
            "--default-unreachable-toleration-seconds=5".into(),
            "--audit-log-path".into(),
            text(&self.audit.0),
            "--audit-log-maxsize=200".into(),
            "--audit-log-maxbackup=2".into(),
            "--audit-policy-file".into(),
            text(&self.audit.1),
        ];
        let ask =
            ["--kubeconfig", &text(&self.kubeconfig), "--request-timeout=2s", "get", "--raw=/readyz"].map(Into::into);
        let ready = Ready::Command(std::iter::once(text(&self.kubectl)).chain(ask).collect());
        Part::new("apiserver", &self.program, args, ready).patience(90)
    }
}

/// Writes a kubeconfig for the certificate `user` and returns where.
///
/// # Errors
/// The file cannot be written.
pub fn kubeconfig(layout: &Layout, user: &str) -> Result<PathBuf> {
    let values = context! {
        server => at(GENERAL, 6443).to_string(), ca => text(layout.pki("ca.crt")), user,
        certificate => text(layout.pki(&format!("{user}.crt"))), key => text(layout.pki(&format!("{user}.key"))),
    };
    layout.configure(&format!("{user}.kubeconfig"), "kubeconfig.yaml", values)
}

/// The control plane of the cluster, in the order to start it.
///
/// # Errors
/// A configuration file cannot be written.
pub fn parts(layout: &Layout) -> Result<Vec<Part>> {
    let admin = kubeconfig(layout, "admin")?;
    let audit = layout.configure("audit.yaml", "audit.yaml", ())?;
    let apiserver = ApiServer {
        program: layout.bin("kube-apiserver"),
        kubectl: layout.bin("kubectl"),
        kubeconfig: admin,
        address: at(GENERAL, 6443),
        etcd: ETCD,
        pki: layout.pki(""),
        audit: (layout.logs().join("audit.log"), audit),
    };
    Ok(vec![
        etcd(&layout.bin("etcd"), &layout.data("etcd"), ETCD, ETCD_PEERS),
        apiserver.part(),
        controller_manager(layout)?,
        scheduler(layout)?,
    ])
}

fn controller_manager(layout: &Layout) -> Result<Part> {
    let args = [
        "--kubeconfig".into(),
        text(kubeconfig(layout, "controller-manager")?),
        "--authentication-kubeconfig".into(),
        text(layout.etc().join("controller-manager.kubeconfig")),
        "--authorization-kubeconfig".into(),
        text(layout.etc().join("controller-manager.kubeconfig")),
        "--bind-address=127.0.0.1".into(),
        "--root-ca-file".into(),
        text(layout.pki("ca.crt")),
        "--service-account-private-key-file".into(),
        text(layout.pki("service-accounts.key")),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        // Pod networks are fixed per node by their CNI configuration.
        "--allocate-node-cidrs=false".into(),
        "--node-monitor-period=1s".into(),
        "--node-monitor-grace-period=10s".into(),
    ];
    Ok(Part::new("controller-manager", layout.bin("kube-controller-manager"), args, Ready::Tcp(local(10257))))
}

fn scheduler(layout: &Layout) -> Result<Part> {
    let args = [
        "--kubeconfig".into(),
        text(kubeconfig(layout, "scheduler")?),
        "--authentication-kubeconfig".into(),
        text(layout.etc().join("scheduler.kubeconfig")),
        "--authorization-kubeconfig".into(),
        text(layout.etc().join("scheduler.kubeconfig")),
        "--bind-address=127.0.0.1".into(),
        "--leader-elect=false".into(),
    ];
    Ok(Part::new("scheduler", layout.bin("kube-scheduler"), args, Ready::Tcp(local(10259))))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
