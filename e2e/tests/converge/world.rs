//! The servers and services that all sequences share.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lab::alone::Alone;
use lab::testing::layout;
use sequencer_proto::topics::{COMMANDS, Consumer};
use sequencer_runtime::args::Args;
use sequencer_runtime::bus::{Bus, Delivery, Outcome};
use sequencer_runtime::{Handles, cluster};
use serde_json::json;
use tokio::sync::Mutex;

use crate::outside::{Outside, PROVIDERS, ZONE};
use crate::{kubelet, services};

/// Where the services would be, and DNSRecords are.
pub(crate) const RELEASE: &str = "sequencer-system";

/// Where connectors are.
pub(crate) const TUNNELS: &str = "sequencer-tunnels";

/// The services, each with the port of its probes.
const SERVICES: [(&str, u16); 3] = [("watcher", 8081), ("deployer", 8082), ("network", 8083)];

/// The cluster's id.
const ID: &str = "test";

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) outside: Arc<Outside>,
    alone: Alone,
    kubeconfig: PathBuf,
    nats: String,
    services: Mutex<HashMap<&'static str, Child>>,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut alone = Alone::new(&layout()?)?;
        let kubeconfig = alone.control_plane_with_kinds()?;
        alone.controllers()?;
        let nats = alone.nats()?;
        let outside = Arc::new(Outside::new(alone.address, alone.folder()).await?);

        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &options).await?;
        let world = Self {
            client: cluster::client(config, "tester")?,
            outside,
            alone,
            kubeconfig,
            nats,
            services: Mutex::default(),
        };
        world.prepare().await?;
        world.play().await?;
        for (service, _port) in SERVICES {
            world.restart(service).await?;
        }
        Ok(world)
    }

    async fn prepare(&self) -> Result<()> {
        for namespace in [RELEASE, TUNNELS] {
            self.namespace(namespace).await?;
        }
        let token =
            json!({"metadata": {"name": "dns"}, "stringData": {"apiKey": self.outside.token()}});
        let secrets = Api::<Secret>::namespaced(self.client.clone(), RELEASE);
        secrets
            .create(&PostParams::default(), &serde_json::from_value(token)?)
            .await?;

        let provider = |name: &str| {
            json!({
                "name": name, "zones": [ZONE], "allowNames": true,
                "cloudflare": {"apiTokenSecretRef": {"name": "dns", "key": "apiKey"}},
            })
        };
        let providers = json!(PROVIDERS.map(provider));
        std::fs::write(self.providers(), providers.to_string())?;
        Ok(())
    }

    fn providers(&self) -> PathBuf {
        self.alone.folder().join("providers.yaml")
    }

    fn start(&self, service: &str) -> Result<Child> {
        let program = std::env::current_exe()?;
        let program = program
            .ancestors()
            .nth(2)
            .context("no folder")?
            .join(service);
        let (_, port) = SERVICES
            .iter()
            .find(|(name, _)| *name == service)
            .context("no such service")?;
        let log = self.alone.folder().join(format!("logs/{service}.log"));
        let log = File::options().create(true).append(true).open(log)?;

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]).arg(program);
        command.args([
            "--cluster-id",
            ID,
            "--pod=a",
            "--namespace",
            RELEASE,
            "--nats-url",
            &self.nats,
        ]);
        command.args([
            "--log-level=info",
            "--ingress-tls=false",
            "--min-backoff=300ms",
            "--claim=15s",
            "--claim-renew=5s",
            "--ack-wait=5s",
        ]);
        command
            .arg("--admin")
            .arg(format!("{}:{port}", self.alone.address));
        command.arg("--dns-providers").arg(self.providers());
        match service {
            "watcher" => command.arg("--resync=3s"),
            "deployer" => command.args(["--ingress-class=played", "--resync=3s"]),
            _ => command.args(self.of_network()),
        };
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);

        command
            .spawn()
            .with_context(|| format!("cannot start {service}"))
    }

    fn of_network(&self) -> Vec<String> {
        let certificate = self.alone.folder().join("cloudflare.crt");
        vec![
            format!("--ca-bundle={}", certificate.display()),
            format!(
                "--egress-allowed={}/32,{}/32",
                self.alone.address, self.outside.application
            ),
            format!("--resolver={}", self.outside.resolver()),
            format!("--cloudflare-url={}", self.outside.api()),
            "--probe=200ms".into(),
            "--quarantine=100ms".into(),
        ]
    }

    /// Ends a service wherever it is, if it runs, and starts it again.
    pub(crate) async fn restart(&self, service: &'static str) -> Result<()> {
        let mut services = self.services.lock().await;
        if let Some(mut child) = services.remove(service) {
            child.kill()?;
            child.wait()?;
        }
        services.insert(service, self.start(service)?);
        Ok(())
    }

    /// What nobody handled yet is never handled.
    pub(crate) async fn lose_messages(&self) -> Result<()> {
        let client = async_nats::connect(&self.nats).await?;
        let stream = async_nats::jetstream::new(client)
            .get_stream(COMMANDS.name)
            .await?;
        stream.purge().await?;
        Ok(())
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let all = Api::<Namespace>::all(self.client.clone());
        all.create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// Plays what looks at branches, builds and publishes, and what runs pods.
    async fn play(&self) -> Result<()> {
        let pool = "default".parse()?;
        for consumer in [
            Consumer::resolver(&pool),
            Consumer::builder(&pool),
            Consumer::registry_pusher(),
        ] {
            let shared = <Cli as clap::Parser>::parse_from([
                "test",
                "--pod=played",
                "--nats-url",
                &self.nats,
            ])
            .shared;
            let bus = Bus::connect("played", &shared, &Handles::default()).await?;
            let client = self.client.clone();
            background(async move {
                let handler = move |delivery: Delivery| {
                    let client = client.clone();
                    async move {
                        match services::well(delivery, client).await {
                            Ok(()) => Outcome::Done,
                            Err(_changed) => Outcome::NotRecorded,
                        }
                    }
                };
                bus.run(&consumer, 8, handler).await;
            });
        }
        background(kubelet::play(self.client.clone(), self.outside.clone()));
        Ok(())
    }

    /// What the services warned of last.
    pub(crate) fn logs(&self) -> Result<String> {
        let log = |(service, _port): (&str, u16)| -> Result<String> {
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
        let logs: Result<Vec<_>> = SERVICES.map(log).into_iter().collect();
        Ok(logs?.join("\n"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.services.get_mut().values_mut() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn background(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}
