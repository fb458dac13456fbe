//! Sequencer itself in the cluster: its images on Docker Hub, and its chart, which is the only way
//! in which its services get there.

use std::process::Command;

use anyhow::Result;
use minijinja::context;

use crate::cache::Key;
use crate::cluster::Cluster;
use crate::image::{self, ServiceImage};
use crate::layout::{NAME_SERVER, at, text, without_proxy};
use crate::parts::{cloudflare, git, name_server};
use crate::process::logged;
use crate::secrets::Secrets;

/// The services, each a program, an image and a pod.
pub const SERVICES: [&str; 5] = [
    "watcher",
    "builder",
    "registry-pusher",
    "network",
    "deployer",
];
/// The release, and what it is called.
pub const NAME: &str = "sequencer";
/// The namespace that the chart is installed in.
pub const NAMESPACE: &str = "sequencer-system";
pub const TENANTS: [&str; 2] = ["team-a", "team-b"];
/// The namespace of builders, which the chart makes.
pub const BUILDS: &str = "sequencer-builds";

/// What the chart runs with one pod each, by namespace.
pub const WORKLOADS: [(&str, &str); 9] = [
    (NAMESPACE, "statefulset/nats"),
    (NAMESPACE, "deployment/staging"),
    (NAMESPACE, "deployment/docker-cache"),
    (NAMESPACE, "deployment/watcher"),
    (NAMESPACE, "deployment/registry-pusher"),
    (NAMESPACE, "deployment/network"),
    (NAMESPACE, "deployment/deployer"),
    (BUILDS, "deployment/builder-default"),
    (BUILDS, "deployment/builder-large"),
];

impl Cluster {
    /// Packs the services' programs into images, and pushes them. Returns the tag that all of them
    /// have.
    ///
    /// # Errors
    /// An image cannot be built, or the registry refuses it.
    pub fn provide_services(&self) -> Result<String> {
        let mut made = Vec::new();

        for name in SERVICES {
            let image = ServiceImage { name };
            made.push((name, image.layout(&self.layout, &self.general)?));
        }

        image::end_building(&self.layout, &self.general)?;

        // Images that differ have another tag: pods are rolled when their image has changed, and
        // only then.
        let tag = Key::default()
            .words(made.iter().map(|(_, oci)| text(oci)))
            .hex();

        for (name, oci) in made {
            image::push(
                &self.layout,
                &self.general,
                &[format!("sequencer/{name}:{tag}")],
                &oci,
            )?;
        }

        Ok(tag)
    }

    /// Writes the values that the chart has on this cluster, and returns their file. `tag` is that
    /// of the images; with `traces` the services send theirs to the receiver.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn values(&self, tag: &str, traces: bool) -> Result<String> {
        let values = context! {
            tag, traces, tenants => TENANTS, known_hosts => git::known_hosts(&self.layout)?, preview_zone => name_server::ZONE,
            name_server => at(NAME_SERVER, 53).to_string(), key_name => name_server::KEY, cloudflare_zone => cloudflare::ZONE,
        };
        Ok(text(self.layout.configure(
            "values.yaml",
            "values.yaml",
            values,
        )?))
    }

    /// The file of the values that the chart was installed with.
    #[must_use]
    pub fn installed_values(&self) -> String {
        text(self.layout.etc().join("values.yaml"))
    }

    /// Makes what the chart's values name: the namespaces, the test CA, the name servers'
    /// credentials.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn provide_credentials(&self, secrets: &Secrets) -> Result<()> {
        let authority = std::fs::read_to_string(self.layout.pki("ca.crt"))?;
        let values = context! {
            namespace => NAMESPACE, tenants => TENANTS, authority, tsig => secrets.tsig, token => secrets.cloudflare_token,
        };
        self.apply("credentials.yaml", values)
    }

    /// Installs the chart, or upgrades what is installed to it, and waits until every pod is ready.
    ///
    /// # Errors
    /// Something does not become ready.
    pub fn install_chart(&self, values: &str) -> Result<()> {
        // What an interrupt left half done keeps Helm from doing anything until it is forgotten.
        let pending = format!(
            "owner=helm,name={NAME},status in (pending-install, pending-upgrade, pending-rollback)"
        );
        self.kubectl(&["-n", NAMESPACE, "delete", "secrets", "-l", &pending])?;
        let chart = text(self.layout.repository.join("charts/sequencer"));
        let mut helm = self.helm();
        helm.args([
            "upgrade",
            "--install",
            NAME,
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            values,
        ]);
        logged(
            helm.args(["--wait", "--timeout=3m"]),
            &self.layout.logs().join("helm.log"),
        )
        .map_err(|error| {
            let pods = self.kubectl(&[
                "get",
                "pods",
                "--all-namespaces",
                "-l",
                "se.quencer.io/part",
            ]);
            error.context(format!("its pods:\n{}", pods.unwrap_or_default()))
        })
    }

    /// Helm as the cluster's administrator, keeping nothing outside the state folder.
    #[must_use]
    pub fn helm(&self) -> Command {
        let mut helm = Command::new(self.layout.bin("helm"));
        helm.env("KUBECONFIG", self.layout.kubeconfig());
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            helm.env(variable, self.layout.data("helm").join(folder));
        }

        without_proxy(&mut helm);
        helm
    }
}
