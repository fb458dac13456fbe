//! The bus: NATS JetStream. Its messages are hints, so everything here may be lost and is made
//! again.

mod carrier;
mod delivery;
mod ensure;
mod lines;
mod publish;
mod pull;
mod singleflight;

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, ServerInfo};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::args::Args;
use crate::handles::Handles;

pub use delivery::{Delivery, Outcome};
pub use ensure::{EnsureError, Keep};
pub use publish::PublishError;

/// How long NATS may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the last messages may take to leave.
const FLUSH: Duration = Duration::from_secs(3);

/// The wait before connecting again, which grows by as much with each try.
const RECONNECT: Duration = Duration::from_millis(100);

/// The longest such wait.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// The oldest server that does all of what we need: older ones ignore it without a word.
const SERVER: (i64, i64, i64) = (2, 10, 0);

/// There is no usable bus.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings cannot be used.
    #[error("cannot connect to NATS")]
    Connect(#[from] async_nats::ConnectError),
    /// The server is too old.
    #[error("NATS {0} is too old: 2.10 is needed")]
    Old(String),
    /// The process was asked to end first.
    #[error("shut down before NATS answered")]
    Stopped,
}

/// A connection to the bus. Clones share it; it connects again by itself.
#[derive(Clone)]
pub struct Bus {
    context: jetstream::Context,
    handles: Handles,
    /// How many times it connected.
    connected: watch::Receiver<u64>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("connected", &*self.connected.borrow())
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects as the service `name`, and waits for NATS as long as it takes: unready, naming what
    /// is missing.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(name: &str, args: &Args, handles: &Handles) -> Result<Self, ConnectError> {
        crate::telemetry::tls();
        let (count, mut connected) = watch::channel(0);
        let client = options(name, args, handles, count)
            .connect(args.nats_url.as_str())
            .await?;

        tokio::select! {
            _ = connected.wait_for(|times| *times > 0) => {}
            () = handles.shutdown.stopping() => return Err(ConnectError::Stopped),
        }

        let (major, minor, patch) = SERVER;
        if !client.is_server_compatible(major, minor, patch) {
            let version = client
                .try_server_info()
                .map(|ServerInfo { version, .. }| version);
            return Err(ConnectError::Old(version.unwrap_or_default()));
        }

        let context = jetstream::context::ContextBuilder::new()
            .timeout(ANSWER)
            .build(client);

        Ok(Self {
            context,
            handles: handles.clone(),
            connected,
        })
    }

    /// Sends what is left and says goodbye.
    pub(crate) async fn close(&self) {
        let client = self.context.client();
        let goodbye = async { client.flush().await.is_ok() && client.drain().await.is_ok() };
        if tokio::time::timeout(FLUSH, goodbye).await != Ok(true) {
            warn!("Failed to flush the last messages");
        }
    }

    fn client(&self) -> Client {
        self.context.client()
    }
}

fn options(
    name: &str,
    args: &Args,
    handles: &Handles,
    count: watch::Sender<u64>,
) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(format!("_INBOX_{name}"))
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| {
            RECONNECT
                .saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX))
                .min(RECONNECT_MAX)
        })
        .event_callback(events(handles, count));

    if let Some(ca) = &args.nats_ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }

    if let (Some(certificate), Some(key)) = (&args.nats_cert, &args.nats_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }

    options
}

/// What the connection reports.
fn events(
    handles: &Handles,
    count: watch::Sender<u64>,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + use<> {
    let part = handles.readiness.part("NATS");
    let slow = handles.metrics.slow_consumers.clone();

    move |event| {
        match event {
            Event::Connected => {
                info!("Connected to NATS");
                part.set(true);
                count.send_modify(|times| *times += 1);
            }
            Event::Disconnected => {
                warn!("Disconnected from NATS");
                part.set(false);
            }
            Event::SlowConsumer(_) => {
                warn!("NATS dropped messages that were not read in time");
                slow.inc();
            }
            Event::ServerError(error) => warn!(%error, "NATS refused something"),
            Event::ClientError(error) => warn!(%error, "NATS connection failed"),
            Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
        std::future::ready(())
    }
}

/// Waits, unless the process ends first; then it says false.
async fn pause(handles: &Handles, pause: impl Future<Output = ()>) -> bool {
    tokio::select! {
        () = pause => true,
        () = handles.shutdown.stopping() => false,
    }
}
