//! What the step tests share: an API server, NATS, and a builder that is called as the bus would.

use sequencer_proto::v1::Trigger;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use lab::alone::Alone;
use lab::layout::{Layout, text};
use lab::parts::registry::COMPANY_USER;
use lab::secrets::Secrets;
use lab::testing::layout;
use sequencer_api::{Build, Component};
use sequencer_builder::Service;
use sequencer_builder::args::Args;
use sequencer_proto::Message as _;
use sequencer_proto::topics::{self, Consumer, LOGS, Pool, Verb};
use sequencer_proto::v1::Log;
use sequencer_runtime::bus::{Bus, Delivery, Keep, Outcome};
use sequencer_runtime::{Handles, cluster};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::buildkitd::Buildkitd;

pub(crate) use lab::until::holds as until;

/// Where everything is.
pub(crate) const NAMESPACE: &str = "default";

pub(crate) struct Harness {
    pub(crate) layout: Layout,
    pub(crate) secrets: Secrets,
    pub(crate) client: Client,
    pub(crate) bus: Bus,
    nats: String,
    kubeconfig: PathBuf,
    pub(crate) daemon: Option<Buildkitd>,
    /// The path of the staging registry below `registry.test`: each test has its own.
    pub(crate) staging: String,
    folder: TempDir,
    alone: Alone,
}

impl Harness {
    /// For commits alone.
    pub(crate) async fn new() -> Result<Self> {
        let layout = layout()?;
        let mut alone = Alone::new(&layout)?;
        let (kubeconfig, nats) = (alone.control_plane_with_kinds()?, alone.nats()?);
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = Config::from_custom_kubeconfig(
            Kubeconfig::read_from(&kubeconfig)?,
            &KubeConfigOptions::default(),
        )
        .await?;
        let client = cluster::client(config, "builder")?;
        let shared = Args::try_parse_from([
            "builder",
            "--pod=x",
            "--staging-url=http://x",
            "--nats-url",
            &nats,
        ])?
        .shared;
        let bus = Bus::connect("builder", &shared, &Handles::default()).await?;
        bus.ensure(&Keep {
            consumers: vec![],
            ack_wait: Duration::from_secs(30),
            every: Duration::from_secs(30),
        })
        .await?;
        let staging = format!("builder-{:08x}", Uuid::new_v4().as_fields().0);
        let (secrets, folder) = (Secrets::ensure(&layout)?, tempfile::tempdir()?);
        let harness = Self {
            layout,
            secrets,
            client,
            bus,
            nats,
            kubeconfig,
            daemon: None,
            staging,
            folder,
            alone,
        };
        until("the kinds are served", async || {
            Ok(harness
                .components()
                .list(&ListParams::default())
                .await
                .is_ok()
                && harness.builds().list(&ListParams::default()).await.is_ok())
        })
        .await?;
        Ok(harness)
    }

    /// With a BuildKit.
    pub(crate) async fn with_buildkit() -> Result<Self> {
        Ok(Self {
            daemon: Some(Buildkitd::start()?),
            ..Self::new().await?
        })
    }

    /// A builder in a pod of this name, with these settings on top.
    pub(crate) fn builder(&self, pod: &str, more: &[&str]) -> Result<Service> {
        let flags = ["builder".to_owned()]
            .into_iter()
            .chain(self.flags(pod, more)?);
        Ok(Service::new(
            self.client.clone(),
            self.bus.clone(),
            &Args::try_parse_from(flags)?,
        )?)
    }

    /// A builder's settings.
    fn flags(&self, pod: &str, more: &[&str]) -> Result<Vec<String>> {
        let (folder, login) = (
            self.folder.path().join(pod),
            self.folder.path().join("login"),
        );

        std::fs::write(
            &login,
            format!("{COMPANY_USER}:{}\n", self.secrets.registry_password),
        )?;

        let known_hosts = self.folder.path().join("known_hosts");
        std::fs::write(&known_hosts, lab::parts::git::known_hosts(&self.layout)?)?;

        let buildkit = self
            .daemon
            .as_ref()
            .map_or_else(|| "unix:///nonexistent".into(), Buildkitd::address);
        let own = [
            format!("--pod={pod}"),
            format!("--buildkit={buildkit}"),
            format!("--staging-url=https://registry.test/{}", self.staging),
            format!("--staging-login={}", text(login)),
            format!("--data={}", text(folder)),
            format!("--known-hosts={}", text(known_hosts)),
            format!("--ca-bundle={}", text(self.layout.ca_bundle())),
            "--egress-allowed=198.18.0.0/15".into(),
            "--check-wanted=200ms".into(),
        ];

        Ok(own
            .into_iter()
            .chain(more.iter().map(|flag| (*flag).to_owned()))
            .collect())
    }

    /// A builder's process, which handles what is published.
    pub(crate) async fn process(&self, pod: &str, more: &[&str]) -> Result<Child> {
        let consumers = vec![
            Consumer::builder(&Pool::default()),
            Consumer::resolver(&Pool::default()),
        ];
        let seconds = Duration::from_secs(30);
        self.bus
            .ensure(&Keep {
                consumers,
                ack_wait: seconds,
                every: seconds,
            })
            .await?;
        let admin = format!("--admin={}:8080", self.alone.address);
        let mut builder = Command::new("setpriv");
        builder.args([
            "--pdeathsig=KILL",
            "--",
            env!("CARGO_BIN_EXE_builder"),
            &admin,
            &format!("--nats-url={}", self.nats),
        ]);
        builder
            .args(self.flags(pod, more)?)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::null());
        Ok(builder.spawn()?)
    }

    /// Publishes to whoever listens.
    pub(crate) async fn publish(&self, verb: Verb, name: &str, uid: &str) -> Result<()> {
        self.bus
            .publish(
                &delivery(verb, name, uid, Trigger::Change)?.command,
                NAMESPACE,
                name,
                Trigger::Change,
            )
            .await?;
        Ok(())
    }

    pub(crate) fn components(&self) -> Api<Component> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn builds(&self) -> Api<Build> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Makes or changes a Secret.
    pub(crate) async fn secret(&self, name: &str, values: &[(&str, &str)]) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        drop(api.delete(name, &kube::api::DeleteParams::default()).await);

        let values: serde_json::Map<_, _> = values
            .iter()
            .map(|(key, value)| ((*key).into(), json!(value)))
            .collect();
        let secret = json!({"metadata": {"name": name}, "stringData": values});

        api.create(&PostParams::default(), &serde_json::from_value(secret)?)
            .await?;
        Ok(())
    }

    /// Makes a ConfigMap.
    pub(crate) async fn config_map(&self, name: &str, data: Value) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = json!({"metadata": {"name": name}, "data": data});
        api.create(&PostParams::default(), &serde_json::from_value(map)?)
            .await?;
        Ok(())
    }

    /// The spec of a build of this repository with the Secret `git`.
    pub(crate) fn spec(url: &str, git: Value, more: Value) -> Value {
        let mut from = json!({"url": url});
        merge(&mut from, git);

        let mut spec = json!({
            "name": "app",
            "containerRegistries": [{"url": "registry.test/published", "tags": ["dev"]}],
            "importContent": [{
                "credentials": {"authScheme": "token", "secretRef": {"name": "git"}}, "contentFrom": {"git": from},
            }],
        });
        merge(&mut spec, more);
        spec
    }

    pub(crate) async fn make_build(&self, name: &str, spec: Value) -> Result<Build> {
        let build = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": name}, "spec": spec});
        Ok(self
            .builds()
            .create(&PostParams::default(), &serde_json::from_value(build)?)
            .await?)
    }

    pub(crate) async fn make_component(
        &self,
        name: &str,
        build: Value,
        more: Value,
    ) -> Result<Component> {
        let mut spec = json!({"name": "web", "template": {"containers": [{"name": "web", "image": "${build::app}"}]}, "build": build});
        merge(&mut spec, more);
        let component = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec});
        Ok(self
            .components()
            .create(&PostParams::default(), &serde_json::from_value(component)?)
            .await?)
    }

    /// Changes a Component's spec.
    pub(crate) async fn patch_component(&self, name: &str, patch: Value) -> Result<()> {
        self.components()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    pub(crate) async fn build_status(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.builds().get(name).await?.status)?["image"].clone())
    }

    pub(crate) async fn source_status(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.components().get(name).await?.status)?["source"].clone())
    }

    /// Has a builder handle a Component.
    pub(crate) async fn resolve(
        &self,
        builder: &Service,
        name: &str,
        trigger: Trigger,
    ) -> Result<Outcome> {
        let uid = self.components().get(name).await?.uid().context("no uid")?;
        Ok(builder
            .clone()
            .handle(delivery(Verb::Resolve, name, &uid, trigger)?)
            .await)
    }

    /// Has a builder handle a Build.
    pub(crate) async fn build(
        &self,
        builder: &Service,
        name: &str,
        trigger: Trigger,
    ) -> Result<Outcome> {
        let uid = self.builds().get(name).await?.uid().context("no uid")?;
        Ok(builder
            .clone()
            .handle(delivery(Verb::Build, name, &uid, trigger)?)
            .await)
    }

    /// The lines of a build's log that are stored.
    pub(crate) async fn log(&self, subject: &str) -> Result<String> {
        let client = async_nats::connect(&self.nats).await?;
        let stream = async_nats::jetstream::new(client)
            .get_stream(LOGS.name)
            .await?;
        let mut text = String::new();

        for sequence in 1..=stream.cached_info().state.last_sequence {
            let message = stream.get_raw_message(sequence).await?;
            if message.subject.as_str() == subject {
                let lines = Log::decode(message.payload)?.lines;
                text.extend(
                    lines
                        .iter()
                        .map(|line| format!("{} {}\n", line.step, line.text)),
                );
            }
        }

        Ok(text)
    }

    /// Whatever a builder keeps on its disk.
    pub(crate) fn kept(&self, pod: &str, folder: &str) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.folder.path().join(pod).join(folder))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }
}

pub(crate) fn delivery(verb: Verb, name: &str, uid: &str, trigger: Trigger) -> Result<Delivery> {
    let uid: Uuid = uid.parse()?;
    let command = topics::Command::new(verb, Some(Pool::default()), uid, uid)?;
    let payload = command.payload(NAMESPACE, name, trigger);

    Ok(Delivery {
        command,
        payload,
        again: false,
    })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
