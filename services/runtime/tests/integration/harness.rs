//! What the tests share: servers of their own, and waiting for what must become true.

use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use lab::alone::Alone;
use lab::part::Part;
use lab::parts::nats;
use lab::testing::layout;
use sequencer_proto::topics::{COMMANDS, Command, Consumer, Verb};
use sequencer_runtime::Handles;
use sequencer_runtime::args::Args;
use sequencer_runtime::bus::{Bus, Delivery, Keep, Outcome};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) use lab::until::{holds as until, holds_within as until_within};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The consumer's ack wait in most tests: nothing here waits for it to be over.
pub(crate) const LONG: Duration = Duration::from_secs(30);

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

/// Settings with these flags.
pub(crate) fn args<'a>(flags: impl IntoIterator<Item = &'a str>) -> Args {
    Cli::parse_from(["test", "--pod=test"].into_iter().chain(flags)).shared
}

/// A NATS of its own, which can be killed and started again.
pub(crate) struct Nats {
    part: Part,
    child: Option<Child>,
    pub(crate) alone: Alone,
}

impl Nats {
    pub(crate) fn start() -> Result<Self> {
        Self::configured(|_| Ok(String::new()))
    }

    /// With more in its configuration.
    pub(crate) fn configured(more: impl FnOnce(&Alone) -> Result<String>) -> Result<Self> {
        let layout = layout()?;
        let alone = Alone::new(&layout)?;
        let program = layout.bin("nats-server");
        let part = nats::part(&program, alone.folder(), alone.address, &more(&alone)?)?;
        let mut nats = Self {
            part,
            child: None,
            alone,
        };
        nats.again()?;
        Ok(nats)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}:4222", self.alone.address)
    }

    /// What it logged.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.alone.folder().join("logs/nats.log"),
        )?)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.alone.folder().join("data/nats")
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn again(&mut self) -> Result<()> {
        let log = self.alone.folder().join("logs/nats.log");
        // A test that is killed takes it along.
        let dying = ["setpriv", "--pdeathsig=KILL", "--"]
            .into_iter()
            .map(Into::into);
        let part = Part {
            argv: dying.chain(self.part.argv.iter().cloned()).collect(),
            ..self.part.clone()
        };

        let child = self.child.insert(part.spawn(&log)?);
        lab::until::until("NATS serves", PATIENCE, || {
            ensure!(
                child.try_wait()?.is_none(),
                "NATS ended: {}",
                std::fs::read_to_string(&log)?
            );
            ensure!(self.part.ready.holds(|_| false), "NATS is not ready");
            Ok(())
        })
    }

    /// A client of the test's own.
    pub(crate) async fn client(&self) -> Result<async_nats::jetstream::Context> {
        Ok(async_nats::jetstream::new(
            async_nats::connect(self.url()).await?,
        ))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// One service's end of the bus.
pub(crate) struct Service {
    pub(crate) handles: Handles,
    pub(crate) bus: Bus,
}

impl Service {
    pub(crate) async fn new(nats: &Nats) -> Result<Self> {
        let handles = Handles::default();
        let bus = Bus::connect("deployer", &args(["--nats-url", &nats.url()]), &handles).await?;
        Ok(Self { handles, bus })
    }

    /// Handles the deployer's commands in the background.
    pub(crate) fn run<H, F>(&self, slots: usize, handler: H) -> JoinHandle<()>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let bus = self.bus.clone();
        background(async move { bus.run(&Consumer::deployer(), slots, handler).await })
    }

    /// Is the watcher in the background.
    pub(crate) fn keep(
        &self,
        keep: Keep,
        made: impl Fn() + Send + Sync + 'static,
    ) -> JoinHandle<()> {
        let bus = self.bus.clone();
        background(async move { bus.keep(keep, made).await })
    }
}

#[expect(clippy::disallowed_methods, reason = "a test ends with its tasks")]
pub(crate) fn background<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// The deployer's consumer, looked at ten times a second.
pub(crate) fn deployers(ack_wait: Duration) -> Keep {
    Keep {
        consumers: vec![Consumer::deployer()],
        ack_wait,
        every: Duration::from_millis(100),
    }
}

/// A command for the deployer.
pub(crate) fn command(uid: u128) -> Command {
    Command::new(
        Verb::Deploy,
        None,
        Uuid::from_u128(0xff00 + uid),
        Uuid::from_u128(uid),
    )
    .unwrap()
}

/// How many commands are in the stream.
pub(crate) async fn stored(client: &async_nats::jetstream::Context) -> Result<u64> {
    let stream = client.get_stream(COMMANDS.name).await?;
    Ok(stream.cached_info().state.messages)
}

/// The consumer's state.
pub(crate) async fn consumer(
    client: &async_nats::jetstream::Context,
) -> Result<async_nats::jetstream::consumer::Info> {
    let stream = client.get_stream(COMMANDS.name).await?;
    stream
        .consumer_info("deployer")
        .await
        .context("no consumer")
}

/// What handlers saw.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn add(&self, what: impl Into<String>) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(what.into());
        all.len()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
