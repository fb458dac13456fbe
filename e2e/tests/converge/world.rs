//! The servers and services that all sequences share.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
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
use crate::programs::{Programs, Service, Ways};
use crate::{kubelet, services};

/// Where the services would be, and DNSRecords are.
pub(crate) const RELEASE: &str = "sequencer-system";

/// Where connectors are.
pub(crate) const TUNNELS: &str = "sequencer-tunnels";

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) outside: Arc<Outside>,
    pub(crate) programs: Arc<Programs>,
    pub(crate) nats: String,
    /// After the services, which stand on it.
    _alone: Alone,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let direct = async |ways: &Ways, _: &Client| {
            let each = Service::ALL.map(|service| (service, ways.clone()));
            Ok(HashMap::from(each))
        };
        Self::with(direct).await
    }

    /// A world whose services reach what they talk to in other ways than the direct ones.
    pub(crate) async fn with(
        ways: impl AsyncFnOnce(&Ways, &Client) -> Result<HashMap<Service, Ways>>,
    ) -> Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut alone = Alone::new(&layout()?)?;
        let kubeconfig = alone.control_plane_with_kinds()?;
        alone.controllers()?;
        let nats = alone.nats()?;
        let outside = Arc::new(Outside::new(alone.address, alone.folder()).await?);

        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &options).await?;
        let client = cluster::client(config, "tester")?;
        let direct = Ways {
            kubeconfig,
            nats: nats.clone(),
            cloudflare: outside.api(),
        };
        let programs = Programs {
            address: alone.address,
            folder: alone.folder().to_path_buf(),
            providers: alone.folder().join("providers.yaml"),
            network: of_network(&alone, &outside),
            ways: ways(&direct, &client).await?,
            running: Mutex::default(),
        };
        let world = Self {
            client,
            outside,
            programs: Arc::new(programs),
            nats,
            _alone: alone,
        };

        world.prepare().await?;
        world.play().await?;
        for service in Service::ALL {
            world.programs.restart(service).await?;
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
        std::fs::write(&self.programs.providers, providers.to_string())?;
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
}

/// What nobody handled yet is never handled.
pub(crate) async fn lose_messages(nats: &str) -> Result<()> {
    let client = async_nats::connect(nats).await?;
    let stream = async_nats::jetstream::new(client)
        .get_stream(COMMANDS.name)
        .await?;
    stream.purge().await?;
    Ok(())
}

fn background(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

fn of_network(alone: &Alone, outside: &Outside) -> Vec<String> {
    let certificate = alone.folder().join("cloudflare.crt");
    vec![
        format!("--ca-bundle={}", certificate.display()),
        format!(
            "--egress-allowed={}/32,{}/32",
            alone.address, outside.application
        ),
        format!("--resolver={}", outside.resolver()),
        "--probe=200ms".into(),
        "--quarantine=100ms".into(),
    ]
}
