//! A real API server, a real NATS, the watcher as a process of its own, and handlers that play the
//! other services: they write what a worker would record, and nothing else.

use std::fmt::Debug;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use lab::alone::Alone;
use lab::testing::layout;
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use sequencer_proto::topics::Consumer;
use sequencer_runtime::args::Args;
use sequencer_runtime::bus::{Bus, Delivery, Outcome};
use sequencer_runtime::{Handles, cluster};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use lab::until::holds as until;

/// Where Workspaces and records live.
pub(crate) const NAMESPACE: &str = "sequencer-system";

/// How often handlers of what is unfinished are notified.
const RESYNC: Duration = Duration::from_secs(3);

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

pub(crate) struct Harness {
    pub(crate) client: Client,
    pub(crate) nats: String,
    watcher: Option<Child>,
    arguments: &'static [&'static str],
    kubeconfig: String,
    /// The verbs and names that were notified, in their order.
    pub(crate) notified: Arc<Mutex<Vec<String>>>,
    pub(crate) alone: Alone,
}

impl Harness {
    /// The watcher runs; nobody plays the others yet.
    pub(crate) async fn new() -> Result<Self> {
        Self::with(&[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn with(arguments: &'static [&'static str]) -> Result<Self> {
        let mut alone = Alone::new(&layout()?)?;
        let kubeconfig = alone.control_plane_with_kinds()?;
        let nats = alone.nats()?;
        drop(rustls::crypto::ring::default_provider().install_default());
        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &options).await?;
        let client = cluster::client(config, "tester")?;
        let mut harness = Self {
            client,
            nats,
            watcher: None,
            arguments,
            kubeconfig: kubeconfig.display().to_string(),
            notified: Arc::default(),
            alone,
        };
        harness.install().await?;
        harness.start()?;
        Ok(harness)
    }

    async fn install(&self) -> Result<()> {
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::<Namespace>::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;

        until("the kinds are served", async || {
            let listed = self
                .all::<Workspace>()
                .list(&ListParams::default())
                .await
                .is_ok();
            Ok(listed
                && self
                    .all::<DNSRecord>()
                    .list(&ListParams::default())
                    .await
                    .is_ok())
        })
        .await
    }

    /// Starts the watcher.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.watcher = Some(self.process("watcher-0", 8080)?);
        Ok(())
    }

    /// A watcher in a pod of this name with its admin port, and periods that tests can wait for.
    pub(crate) fn process(&self, pod: &str, port: u16) -> Result<Child> {
        let providers = self.alone.folder().join("providers.yaml");
        std::fs::write(
            &providers,
            "- {name: lab, zones: [preview.test], wildcard: {}}\n- {name: other, zones: [preview.test], wildcard: {}}\n- {name: names, zones: [names.test], allowNames: true, wildcard: {}}\n",
        )?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.alone.folder().join("logs/watcher.log"))?;
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig=KILL",
            "--",
            env!("CARGO_BIN_EXE_watcher"),
            "--cluster-id=test",
            "--pod",
            pod,
        ]);
        command
            .args([
                "--namespace",
                NAMESPACE,
                "--nats-url",
                &self.nats,
                "--dns-providers",
            ])
            .arg(&providers);
        command
            .arg("--admin")
            .arg(format!("{}:{port}", self.alone.address));
        // In the environment, so that a test's own arguments win.
        command.env("SEQUENCER_RESYNC", format!("{}s", RESYNC.as_secs()));
        command.env("SEQUENCER_SECRET_RETRY", "1s");
        command.args(self.arguments);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn().context("cannot start the watcher")
    }

    /// Whether the first watcher still runs.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        let watcher = self.watcher.as_mut().context("it was killed")?;
        Ok(watcher.try_wait()?.is_none())
    }

    /// As a pod is ended.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.watcher.take() {
            let signalled = Command::new("kill").arg(child.id().to_string()).status()?;
            ensure!(signalled.success(), "{signalled}");
            let ended = child.wait()?;
            ensure!(ended.success(), "{ended}");
        }
        Ok(())
    }

    /// As if the node were gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.watcher.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Applies a Workspace of this name and spec.
    pub(crate) async fn workspace(&self, name: &str, spec: Value) -> Result<Workspace> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec,
        });
        Ok(self
            .all()
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?)
    }

    /// The only Component, Build or record whose name holds this.
    pub(crate) async fn find<K>(&self, part: &str) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let all = self.all::<K>().list(&ListParams::default()).await?;
        let mut found = all.items.into_iter().filter(|object| {
            object
                .meta()
                .name
                .as_deref()
                .is_some_and(|name| name.contains(part))
        });
        found
            .next()
            .with_context(|| format!("no {} {part}", K::kind(&())))
    }

    pub(crate) async fn component(&self, name: &str) -> Result<Component> {
        let all = self.all::<Component>().list(&ListParams::default()).await?;
        all.items
            .into_iter()
            .find(|found| found.spec.template.name == name)
            .with_context(|| format!("no Component {name}"))
    }

    pub(crate) async fn count<K>(&self) -> Result<usize>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        Ok(self
            .all::<K>()
            .list(&ListParams::default())
            .await?
            .items
            .len())
    }

    /// Waits until `Ready` of a Workspace has this status and reason.
    pub(crate) async fn ready(&self, name: &str, status: &str, reason: &str) -> Result<Workspace> {
        let mut last = None;
        let wanted = until(&format!("{name} is {status} {reason}"), async || {
            let found = self.all::<Workspace>().get(name).await?;
            let ready = found
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .find(|found| found.type_ == "Ready");
            let good = ready.is_some_and(|ready| ready.status == status && ready.reason == reason);
            let shown =
                ready.map(|ready| format!("{} {} {}", ready.status, ready.reason, ready.message));

            last = Some(found.clone());
            ensure!(good, "{shown:?}");
            Ok(true)
        })
        .await;
        wanted?;
        last.context("no Workspace")
    }

    /// Plays every other service with these handlers, until the test ends.
    pub(crate) async fn play<H, F>(&self, handlers: H) -> Result<()>
    where
        H: Fn(Delivery, Client) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let pools = ["default".parse()?];
        for consumer in Consumer::all(&pools) {
            let handles = Handles::default();
            let shared = <Cli as clap::Parser>::parse_from([
                "test",
                "--pod=handlers",
                "--nats-url",
                &self.nats,
            ])
            .shared;
            let bus = Bus::connect("handlers", &shared, &handles).await?;
            let (client, notified, handlers) =
                (self.client.clone(), self.notified.clone(), handlers.clone());

            background(async move {
                let handler = move |delivery: Delivery| {
                    notified.lock().unwrap().push(format!(
                        "{} {}",
                        delivery.command.verb(),
                        delivery.payload.name
                    ));
                    let (client, handlers) = (client.clone(), handlers.clone());
                    async move {
                        match handlers(delivery, client).await {
                            Ok(()) => Outcome::Done,
                            Err(_changed) => Outcome::NotRecorded,
                        }
                    }
                };
                bus.run(&consumer, 4, handler).await;
            });
        }

        Ok(())
    }

    /// The Events about an object, in their order: reason and note.
    pub(crate) async fn events(&self, kind: &str, name: &str) -> Result<Vec<(String, String)>> {
        let mut events = self
            .all::<Event>()
            .list(&ListParams::default())
            .await?
            .items;
        events.retain(|event| {
            let about = event.regarding.clone().unwrap_or_default();
            about.kind.as_deref() == Some(kind) && about.name.as_deref() == Some(name)
        });
        events.sort_by_key(|event| event.event_time.clone());

        let words = |event: Event| {
            (
                event.reason.unwrap_or_default(),
                event.note.unwrap_or_default(),
            )
        };

        Ok(events.into_iter().map(words).collect())
    }

    /// How often a verb was notified for names that hold this.
    pub(crate) fn times(&self, verb: &str, part: &str) -> usize {
        let notified = self.notified.lock().unwrap();
        notified
            .iter()
            .filter(|entry| entry.starts_with(&format!("{verb} ")) && entry.contains(part))
            .count()
    }

    /// The watcher's log.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.alone.folder().join("logs/watcher.log"),
        )?)
    }

    /// Lets two resyncs pass: what would be done again and again shows itself.
    pub(crate) async fn resyncs(&self) {
        tokio::time::sleep(2 * RESYNC).await;
    }

    /// The one Build.
    pub(crate) async fn build(&self) -> Result<Build> {
        self.find("").await
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        drop(self.kill());
        if std::thread::panicking() || std::env::var_os("SEQUENCER_E2E_KEEP").is_some() {
            eprintln!("{}", self.log().unwrap_or_default());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test ends with its tasks")]
fn background(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}
