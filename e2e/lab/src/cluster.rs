//! The whole cluster: what it is made of, its health, and taking it down without a trace.

mod up;

pub use up::Extras;

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::BASE64;
use minijinja::context;
use serde::Serialize;

use crate::cache::Key;
use crate::control::Health;
use crate::holder::Machine;
use crate::install::{debian, go};
use crate::layout::{
    CLOUDFLARE_API, CLOUDFLARE_EDGE, CLUSTER_API, CLUSTER_DNS, GENERAL, Layout, NAME_SERVER, NAMES,
    at, text,
};
use crate::namespace::Namespace;
use crate::part::Part;
use crate::parts::node::{BUILDS_NODE, GENERAL_NODE};
use crate::parts::{cloudflare, control_plane, git, kwok, name_server, registry, traces};
use crate::process::{fed, output, tail};
use crate::progress::{Progress, Step};
use crate::until::until;
use crate::{cgroup, machine, network, release};

/// How long a cluster may take to find its pods again after a crash: all of them start at once.
const SETTLED: Duration = Duration::from_secs(120);

/// The part of the first node's supervisor that is the second node's.
pub const NODE_BUILDS: &str = "node-builds";

/// The cluster of one checkout.
#[derive(Debug)]
pub struct Cluster {
    pub layout: Layout,
    /// The first node's namespace, with the control plane and all services.
    pub general: Namespace,
    /// The second node's namespace.
    pub builds: Namespace,
}

impl Cluster {
    /// The cluster whose folders these are, up or not.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let general = Namespace::at(layout.sockets().join("general"));
        let builds = Namespace::at(layout.sockets().join("builds"));
        Self {
            layout,
            general,
            builds,
        }
    }

    fn check_health(&self) -> Result<()> {
        match self.status()?.into_iter().find(|part| !part.ready) {
            Some(part) => {
                bail!(
                    "{} {}\n{}",
                    part.name,
                    part.ended.as_deref().unwrap_or("is not ready"),
                    tail(Path::new(&part.log))
                )
            }
            None => Ok(()),
        }
    }

    fn coredns(&self) -> Result<()> {
        let names = NAMES
            .map(|(address, names)| context! { address => address.to_string(), names => names });
        // The configuration's own hash in the pod template rolls the Deployment when it changes.
        let template = self.layout.repository.join("e2e/templates/coredns.yaml");
        let revision = Key::default()
            .words(names.iter().map(ToString::to_string))
            .words([std::fs::read_to_string(template)?])
            .hex();
        let values = context! {
            names, revision, dns => CLUSTER_DNS.to_string(), name_server => NAME_SERVER.to_string(),
            cloudflare_edge => CLOUDFLARE_EDGE.to_string(),
        };

        self.apply("coredns.yaml", values)?;
        self.wait_rolled_out("kube-system", "coredns")?;
        // After a crash the API still shows the pod of before as ready.
        until("CoreDNS answers for Services", SETTLED, || {
            let answer = self.general.run(&[
                "dig",
                "+short",
                "+tries=1",
                "+timeout=1",
                "kubernetes.default.svc.cluster.local",
            ])?;

            ensure!(
                answer.trim() == CLUSTER_API.to_string(),
                "it answers {answer:?}"
            );
            Ok(())
        })
    }

    fn traefik(&self) -> Result<()> {
        let encoded = |file: &str| -> Result<String> {
            Ok(BASE64.encode(&std::fs::read(self.layout.pki(file))?))
        };

        let values = context! {
            certificate => encoded("ingress.crt")?, key => encoded("ingress.key")?, address => GENERAL.to_string(),
        };

        self.apply("traefik.yaml", values)?;
        self.wait_rolled_out("traefik", "traefik")?;
        until("Traefik answers", SETTLED, || {
            for port in [80, 443] {
                TcpStream::connect_timeout(&at(GENERAL, port), Duration::from_secs(1))?;
            }
            Ok(())
        })
    }

    fn wait_rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        let name = format!("deployment/{deployment}");
        self.kubectl(&[
            "-n",
            namespace,
            "rollout",
            "status",
            &name,
            "--timeout=120s",
        ])
        .map(drop)
        .map_err(|error| {
            let events =
                self.kubectl(&["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"]);
            error.context(format!("its events:\n{}", events.unwrap_or_default()))
        })
    }

    /// Starts KWOK; it is built first where it was never needed.
    ///
    /// # Errors
    /// It cannot be built, or does not become ready.
    pub fn start_kwok(&self) -> Result<()> {
        go::KWOK.install(&self.layout)?;
        self.general.supervisor.start(kwok::part(&self.layout)?)
    }

    /// Starts the receiver of traces; it is built first where it was never needed.
    ///
    /// # Errors
    /// As [`Cluster::start_kwok`].
    pub fn start_traces(&self) -> Result<()> {
        go::OTELCOL.install(&self.layout)?;
        self.general.supervisor.start(traces::part(&self.layout)?)
    }

    /// Whether the first node has a part of this name.
    ///
    /// # Errors
    /// The supervisor lives and does not answer.
    pub fn has_part(&self, name: &str) -> Result<bool> {
        if self.general.supervisor.pid().is_none() {
            return Ok(false);
        }
        let parts = self.general.supervisor.list()?;
        Ok(parts.iter().any(|part| part.name == name))
    }

    /// What the summary at the end of `up` names; `sample` is the sample's URL.
    #[must_use]
    pub fn summary(&self, sample: &str) -> minijinja::Value {
        context! {
            sample,
            api => control_plane::server().to_string(), address => GENERAL.to_string(), zone => name_server::ZONE,
            name_server => NAME_SERVER.to_string(), cloudflare_zone => cloudflare::ZONE,
            edge => CLOUDFLARE_EDGE.to_string(), admin => at(CLOUDFLARE_API, cloudflare::ADMIN_PORT).to_string(),
            hub_user => registry::HUB_USER, registry_user => registry::COMPANY_USER, branch => git::BRANCH,
            secrets => text(self.layout.state.join("secrets.json")), logs => text(self.layout.logs()),
            traces => text(traces::file(&self.layout)), ca => text(self.layout.pki("ca.crt")),
            deploy_key => text(git::deploy_key(&self.layout)),
        }
    }

    /// Renders a template and applies it as the cluster's administrator.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn apply(&self, template: &str, values: impl Serialize) -> Result<()> {
        let file = text(self.layout.configure(template, template, values)?);
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file])
            .map(drop)
    }

    /// Runs kubectl as the cluster's administrator and returns what it printed.
    ///
    /// # Errors
    /// It fails; the text has what it printed on stderr.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        output(self.layout.kubectl().args(args))
    }

    /// Runs kubectl as the cluster's administrator with this on its stdin, and returns what it
    /// printed.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub fn kubectl_fed(&self, args: &[&str], input: &str) -> Result<String> {
        fed(self.layout.kubectl().args(args), input)
    }

    /// Takes the machine, for as long as the value lives; nothing is started.
    ///
    /// # Errors
    /// The machine lacks something, or is held.
    pub fn hold(&self) -> Result<Machine> {
        machine::check(&self.layout)?;
        let mut held = Machine::take(&self.layout)?;

        if self.general.supervisor.pid().is_none()
            && let Err(taken) = network::check_free()
        {
            held.release()?;
            return Err(taken);
        }

        self.layout.create()?;
        held.hold(&self.layout, self.general.supervisor.socket())?;
        Ok(held)
    }

    /// Makes the first node's namespaces, unless they live. Some that were interrupted while they
    /// were made are thrown away: nothing runs in them yet.
    fn enter(&self) -> Result<()> {
        if self.general.is_set_up()? {
            return Ok(());
        }

        self.general.kill()?;
        self.write_etc()?;

        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            text(self.layout.bin(""))
        );
        self.general.start(&self.layout.logs(), &path)?;
        network::join_host(&self.general)?;
        cgroup::make(GENERAL_NODE.name)?;
        network::mount_node(&self.general, &self.layout, GENERAL_NODE.name)?;
        network::mount_etc(&self.general, &self.layout)?;
        self.general.mark_set_up()
    }

    /// The files that lie over the host's `/etc` inside.
    fn write_etc(&self) -> Result<()> {
        let etc = self.layout.over_etc();
        let names = NAMES
            .iter()
            .map(|(address, names)| format!("{address} {}\n", names.join(" ")));

        std::fs::write(
            etc.join("hosts"),
            format!("127.0.0.1 localhost\n{}", names.collect::<String>()),
        )?;
        std::fs::write(
            etc.join("resolv.conf"),
            format!("nameserver {CLUSTER_DNS}\noptions ndots:1\n"),
        )?;

        std::fs::copy(
            self.layout.ca_bundle(),
            etc.join("ssl/certs/ca-certificates.crt"),
        )?;

        let home = text(self.layout.data("git"));
        let add = |file: &str, line: String| -> Result<()> {
            let system = std::fs::read_to_string(format!("/etc/{file}"))?;
            Ok(std::fs::write(
                etc.join(file),
                format!("{}\n{line}\n", system.trim_end()),
            )?)
        };

        add(
            "passwd",
            format!("git:*:{0}:{0}:git:{home}:/usr/bin/git-shell", git::USER),
        )?;
        add("group", format!("git:*:{}:", git::USER))
    }

    /// Starts the second node, or what of it does not run; `program` is the cluster's, which tests
    /// are not.
    ///
    /// # Errors
    /// A part does not become ready.
    pub fn start_builds(&self, program: &Path) -> Result<()> {
        let node = BUILDS_NODE;

        if !self.builds.is_set_up()? {
            self.builds.kill()?;
            if self
                .general
                .supervisor
                .list()?
                .iter()
                .any(|part| part.name == NODE_BUILDS)
            {
                self.general.supervisor.stop(NODE_BUILDS, 0)?;
            }

            let logs = self.layout.logs();
            let argv = Namespace::boot(program, self.builds.supervisor.socket(), &logs);
            let (program, args) = argv.split_first().context("an empty command")?;
            let ready = crate::part::Ready::Socket(self.builds.supervisor.socket().into());

            self.general
                .supervisor
                .start(Part::new(NODE_BUILDS, program, args, ready))?;
            network::join_node(&self.general, &self.builds)?;
            cgroup::make(node.name)?;
            network::mount_node(&self.builds, &self.layout, node.name)?;
            self.builds.mark_set_up()?;
        }

        node.parts(&self.layout)?
            .into_iter()
            .try_for_each(|part| self.builds.supervisor.start(part))
    }

    /// Ends everything, and with `purge` removes its data too.
    ///
    /// # Errors
    /// Something cannot be ended or removed.
    pub fn down(&self, progress: &Progress, purge: bool) -> Result<()> {
        machine::check_root()?;
        let held = Machine::take(&self.layout)?;
        let mut steps = Vec::new();
        if self.builds.supervisor.pid().is_some() {
            steps.push(Step::new("node builds", "stop", || self.builds.shutdown()));
        }
        if self.general.supervisor.pid().is_some() {
            let what = "stop every part, the last started first";
            steps.push(Step::new("cluster", what, || self.general.shutdown()));
        }
        let what = "remove link and cgroup folders, give kernel settings back";
        steps.push(Step::new("machine", what, || {
            network::remove_link()?;
            cgroup::remove()?;
            debian::allow_daemons()?;
            machine::remove_folders(&self.layout)?;
            machine::restore_settings(&self.layout)
        }));
        if purge && self.layout.state.exists() {
            steps.push(Step::new("state", "remove all data", || {
                let state = &self.layout.state;
                ensure!(
                    self.layout.marker().exists(),
                    "{} is no state folder of a cluster: it is not removed",
                    state.display()
                );
                Ok(std::fs::remove_dir_all(state)?)
            }));
        }
        progress.run("the cluster is down", steps)?;
        held.release()
    }

    /// Every part of both nodes, and the pods that all others need, with their health.
    ///
    /// # Errors
    /// The cluster is not up.
    pub fn status(&self) -> Result<Vec<Health>> {
        let mut parts = self.general.supervisor.list()?;

        if self.builds.supervisor.pid().is_some() {
            parts.extend(self.builds.supervisor.list()?);
        }

        let ground = [
            ("kube-system", "deployment/coredns"),
            ("traefik", "deployment/traefik"),
        ];
        for (namespace, workload) in ground.into_iter().chain(release::WORKLOADS) {
            let path = "jsonpath={.status.readyReplicas}";
            let ready = self.kubectl(&[
                "--request-timeout=5s",
                "-n",
                namespace,
                "get",
                workload,
                "-o",
                path,
            ]);
            let name = workload.split('/').next_back().unwrap_or(workload);

            parts.push(Health {
                name: format!("pods of {name}"),
                pid: None,
                ended: None,
                ready: ready.is_ok_and(|ready| ready == "1"),
                log: format!("kubectl -n {namespace} logs {workload}"),
            });
        }

        Ok(parts)
    }
}
