//! The servers and services that all sequences share, and one preview.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use lab::alone::Alone;
use lab::testing::layout;
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use sequencer_proto::topics::{Consumer, Verb};
use sequencer_runtime::args::Args;
use sequencer_runtime::bus::{Bus, Delivery, Outcome};
use sequencer_runtime::{Handles, cluster};
use serde_json::{Value, json};

use crate::state::{self, State};
use crate::{kubelet, services};

/// Where the services would be, and DNSRecords are.
pub(crate) const RELEASE: &str = "sequencer-system";

/// How long a preview may take to settle.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

pub(crate) struct World {
    pub(crate) client: Client,
    alone: Alone,
    services: Vec<Child>,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let mut alone = Alone::new(&layout()?)?;
        let kubeconfig = alone.control_plane_with_kinds()?;
        alone.controllers()?;
        let nats = alone.nats()?;
        drop(rustls::crypto::ring::default_provider().install_default());
        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &options).await?;
        let client = cluster::client(config, "tester")?;
        let mut world = Self {
            client,
            alone,
            services: Vec::new(),
        };
        world.namespace(RELEASE).await?;

        let providers = world.alone.folder().join("providers.yaml");
        std::fs::write(
            &providers,
            "- {name: lab, zones: [preview.test], allowNames: true, wildcard: {}}\n",
        )?;
        for (service, port) in [("watcher", 8081), ("deployer", 8082)] {
            let process = world.start(service, port, &nats, &kubeconfig, &providers)?;
            world.services.push(process);
        }
        world.play(&nats).await?;
        background(kubelet::play(world.client.clone()));
        Ok(world)
    }

    fn start(
        &self,
        service: &str,
        port: u16,
        nats: &str,
        kubeconfig: &PathBuf,
        providers: &PathBuf,
    ) -> Result<Child> {
        let program = std::env::current_exe()?;
        let program = program
            .ancestors()
            .nth(2)
            .context("no folder")?
            .join(service);
        let log = File::create(self.alone.folder().join(format!("logs/{service}.log")))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]).arg(program);
        command.args([
            "--cluster-id=test",
            "--pod=a",
            "--namespace",
            RELEASE,
            "--nats-url",
            nats,
        ]);
        command
            .args(["--log-level", "info", "--admin"])
            .arg(format!("{}:{port}", self.alone.address));
        command.arg("--dns-providers").arg(providers);
        if service == "watcher" {
            command.args(["--resync", "3s"]);
        } else {
            command.args(["--ingress-class", "played"]);
        }
        command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        command
            .spawn()
            .with_context(|| format!("cannot start {service}"))
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let all = Api::<Namespace>::all(self.client.clone());
        all.create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// Builds, tunnels and records.
    async fn play(&self, nats: &str) -> Result<()> {
        let pools = ["default".parse()?];
        for consumer in Consumer::all(&pools) {
            let shared =
                <Cli as clap::Parser>::parse_from(["test", "--pod=played", "--nats-url", nats])
                    .shared;
            let bus = Bus::connect("played", &shared, &Handles::default()).await?;
            let client = self.client.clone();
            background(async move {
                let handler = move |delivery: Delivery| {
                    let client = client.clone();
                    async move {
                        // The deployer is there itself.
                        if matches!(delivery.command.verb(), Verb::Deploy | Verb::Ingress) {
                            return Outcome::NotRecorded;
                        }
                        match services::well(delivery, client).await {
                            Ok(()) => Outcome::Done,
                            Err(_changed) => Outcome::NotRecorded,
                        }
                    }
                };
                bus.run(&consumer, 8, handler).await;
            });
        }
        Ok(())
    }

    /// The end of the services' logs.
    pub(crate) fn logs(&self) -> Result<String> {
        let log = |service: &str| -> Result<String> {
            let path = self.alone.folder().join(format!("logs/{service}.log"));
            let text = std::fs::read_to_string(path)?;
            let warnings = text
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR"));
            let warnings: Vec<_> = warnings.collect();
            let last = warnings.iter().rev().take(30).rev();
            Ok(format!(
                "{service}:\n{}",
                last.copied().collect::<Vec<_>>().join("\n")
            ))
        };
        Ok(format!("{}\n{}", log("watcher")?, log("deployer")?))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.services {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn background(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

/// A Workspace in a namespace of its own.
pub(crate) struct Preview<'a> {
    pub(crate) world: &'a World,
    pub(crate) namespace: String,
}

impl<'a> Preview<'a> {
    pub(crate) const NAME: &'static str = "w";

    pub(crate) async fn new(world: &'a World, seed: u64) -> Result<Self> {
        let namespace = format!("seed-{seed}");
        world.namespace(&namespace).await?;
        Ok(Self { world, namespace })
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    /// As `kubectl apply` does: what the spec does not say any more goes.
    pub(crate) async fn apply(&self, spec: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace",
            "metadata": {"name": Self::NAME}, "spec": spec,
        });
        let all = self.api::<Workspace>();
        let manager = PatchParams::apply("person").force();
        all.patch(Self::NAME, &manager, &Patch::Apply(&object))
            .await?;
        Ok(())
    }

    /// Waits until the status says that all of this spec is ready, or held back.
    pub(crate) async fn settled(&self, spec: &Value) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let paused = spec["paused"] == true;

        loop {
            let found = self.api::<Workspace>().get(Self::NAME).await?;
            let status = found.status.clone().unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .find(|found| found.type_ == "Ready");
            let current = Some(status.observed_generation) == found.metadata.generation;
            let good = ready.is_some_and(|ready| {
                ready.status == "True" || (paused && ready.reason == "Paused")
            });
            if current && good {
                return Ok(());
            }
            let shown: Vec<_> = status
                .conditions
                .iter()
                .map(|c| format!("{} {} {} {}", c.type_, c.status, c.reason, c.message))
                .collect();
            ensure!(
                Instant::now() < deadline,
                "it does not settle: {}",
                shown.join("; ")
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What is there of it once nothing is under way any more.
    pub(crate) async fn state(&self) -> Result<State> {
        let found = self.api::<Workspace>().get(Self::NAME).await?;
        let uid = found.uid().context("no uid")?;
        let read = async || state::read(&self.world.client, &self.namespace, RELEASE, &uid).await;

        // Old pods, Services and Builds go a moment after the new are ready.
        let mut last = read().await?;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_secs(4) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = read().await?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    /// Deletes it, and waits until nothing of it is left.
    pub(crate) async fn delete(&self) -> Result<()> {
        let found = self.api::<Workspace>().get(Self::NAME).await?;
        let uid = found.uid().context("no uid")?;
        self.api::<Workspace>()
            .delete(Self::NAME, &DeleteParams::default())
            .await?;
        let deadline = Instant::now() + PATIENCE;

        loop {
            let all = ListParams::default();
            let workspaces = self.api::<Workspace>().list(&all).await?.items.len();
            let components = self.api::<Component>().list(&all).await?.items.len();
            let builds = self.api::<Build>().list(&all).await?.items.len();
            let records = Api::<DNSRecord>::namespaced(self.world.client.clone(), RELEASE);
            let ours = ListParams::default().labels(&format!("se.quencer.io/ws-uid={uid}"));
            let records = records.list(&ours).await?.items.len();
            let left = state::read(&self.world.client, &self.namespace, RELEASE, &uid).await?;
            if workspaces + components + builds + records == 0 && left.is_empty() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "left behind: {workspaces} Workspaces, {components} Components, {builds} Builds, {records} records, {:?}",
                left.keys().collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
