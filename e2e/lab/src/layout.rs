//! Where everything is: folders on the disk, addresses inside the cluster's network.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

/// The host's end of the link to the cluster.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The node `general`, the API server, and Traefik on ports 80 and 443.
pub const GENERAL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Plays Docker Hub's registry.
pub const HUB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
/// Plays Docker Hub's token service.
pub const HUB_AUTH: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 11);
/// A company's own registry, `registry.test`.
pub const COMPANY_REGISTRY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 12);
/// Plays github.com, by ssh and https.
pub const GIT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 13);
/// bind9, authoritative for `preview.test`.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 14);
/// Plays api.cloudflare.com.
pub const CLOUDFLARE_API: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 15);
/// Plays Cloudflare's edge and its name servers.
pub const CLOUDFLARE_EDGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 16);
pub const TRACES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 17);
/// The bridge to the second node, on the first node's side.
pub const BRIDGE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// The node `builds`.
pub const BUILDS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 2);
/// CoreDNS, as pods see it.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The API server, as pods see it.
pub const CLUSTER_API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The addresses besides [`GENERAL`] that the first node's link carries.
pub const SERVICES: [Ipv4Addr; 8] = [
    HUB,
    HUB_AUTH,
    COMPANY_REGISTRY,
    GIT,
    NAME_SERVER,
    CLOUDFLARE_API,
    CLOUDFLARE_EDGE,
    TRACES,
];

/// The names under which the cluster finds what runs outside it. The nodes and CoreDNS both serve
/// this table.
pub const NAMES: [(Ipv4Addr, &[&str]); 8] = [
    (GENERAL, &["login.bank.test"]),
    (
        HUB,
        &["registry-1.docker.io", "index.docker.io", "docker.io"],
    ),
    (HUB_AUTH, &["auth.docker.io"]),
    (COMPANY_REGISTRY, &["registry.test"]),
    (GIT, &["github.com"]),
    (CLOUDFLARE_API, &["api.cloudflare.com"]),
    (
        CLOUDFLARE_EDGE,
        &[
            "region1.v2.argotunnel.com",
            "region2.v2.argotunnel.com",
            "anna.ns.cloudflare.com",
            "bert.ns.cloudflare.com",
        ],
    ),
    (TRACES, &["otlp.test"]),
];

/// The folders of one checkout's cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    pub repository: PathBuf,
    /// What is built once and shared by every checkout, keyed by content.
    pub cache: PathBuf,
    /// What this machine's cluster keeps: data, certificates, logs, sockets.
    pub state: PathBuf,
}

impl Layout {
    /// Logs, one file per part and per step.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.state.join("etc")
    }

    /// What lies over `/etc` inside.
    #[must_use]
    pub fn over_etc(&self) -> PathBuf {
        self.state.join("over-etc")
    }

    #[must_use]
    pub fn pki(&self, file: &str) -> PathBuf {
        self.state.join("pki").join(file)
    }

    /// A part's own data.
    #[must_use]
    pub fn data(&self, part: &str) -> PathBuf {
        self.state.join("data").join(part)
    }

    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.state.join("sockets")
    }

    /// The programs that `up` built or downloaded, each under its own name.
    #[must_use]
    pub fn bin(&self, program: &str) -> PathBuf {
        self.state.join("bin").join(program)
    }

    /// The administrator's kubeconfig; its address is good on the host, on the nodes and in pods.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.etc().join("admin.kubeconfig")
    }

    /// The system's certificate authorities and the test CA in one file.
    #[must_use]
    pub fn ca_bundle(&self) -> PathBuf {
        self.pki("bundle.crt")
    }

    /// The file by which a state folder is known as one, before all of it is removed.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.state.join(".sequencer-e2e")
    }

    /// kubectl as the cluster's administrator, keeping nothing outside the state folder.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(self.bin("kubectl"));
        kubectl
            .arg(format!("--kubeconfig={}", text(self.kubeconfig())))
            .env("KUBECACHEDIR", self.data("kubectl"));
        without_proxy(&mut kubectl);
        kubectl
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// The state folder cannot be written.
    pub fn create(&self) -> Result<()> {
        for folder in [
            "logs",
            "etc",
            "over-etc/ssl/certs",
            "data",
            "sockets",
            "bin",
        ] {
            let path = self.state.join(folder);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
        }

        std::fs::write(self.marker(), "")?;
        // Keys and tokens lie below it.
        std::fs::set_permissions(&self.state, std::fs::Permissions::from_mode(0o711))?;
        Ok(())
    }

    /// Renders `e2e/templates/<template>` and returns the text.
    ///
    /// # Errors
    /// The template is missing, or names a value that `values` does not have.
    pub fn render(&self, template: &str, values: impl Serialize) -> Result<String> {
        let path = self.repository.join("e2e/templates").join(template);
        let source = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_keep_trailing_newline(true);
        environment
            .render_str(&source, values)
            .with_context(|| format!("cannot render {}", path.display()))
    }

    /// Renders a template into the folder of configuration under `name`, and returns where. A file
    /// that would not change is not touched: kube-proxy, for one, ends when its configuration is
    /// written.
    ///
    /// # Errors
    /// As [`Layout::render`], or the file cannot be written.
    pub fn configure(&self, name: &str, template: &str, values: impl Serialize) -> Result<PathBuf> {
        let path = self.etc().join(name);
        let content = self.render(template, values)?;
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&content) {
            write_private(&path, &content)?;
        }
        Ok(path)
    }
}

/// Writes a file that only root may read, in one step.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let half = path.with_extension("new");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&half);
    let written = file
        .and_then(|mut file| file.write_all(content.as_ref()))
        .and_then(|()| std::fs::rename(&half, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Takes the machine's proxy away from a command: nothing of the cluster is behind it.
pub fn without_proxy(command: &mut Command) {
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
}

/// `address:port`.
#[must_use]
pub fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

/// A path as an argument.
#[must_use]
pub fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}
