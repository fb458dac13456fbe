//! The connector: holds connections to the edge and passes their requests to services.
mod dial;
mod metrics;
mod proxy;

use std::{
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::RootCertStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{ingress::Rules, link::Configuration, tasks::Tasks, tls, tunnel::Token};

/// How a connector is started.
#[derive(Clone)]
pub struct ConnectorSettings {
    /// The tunnel token, as the API gives it.
    pub token: String,
    /// The edge, as `HOST:PORT`; the connections take turns.
    pub edges: Vec<String>,
    /// Whom to believe to be the edge, or an `https` service.
    pub roots: RootCertStore,
    /// Where `/ready` and `/metrics` are served, as `HOST:PORT`.
    pub metrics: String,
    /// How many connections to hold.
    pub connections: usize,
    /// How long requests under way may take after [`Connector::stop`].
    pub grace: Duration,
    /// The longest first pause after a connection failed; each further one doubles it.
    pub backoff: Duration,
    /// What answers for every HTTP service, where no name server knows their names.
    pub origin: Option<SocketAddr>,
}

impl ConnectorSettings {
    /// The version the connector gives itself.
    pub const VERSION: &str = "2026.1.0";
    /// Where real connectors find the edge.
    pub const EDGES: [&str; 2] = [
        "region1.v2.argotunnel.com:7844",
        "region2.v2.argotunnel.com:7844",
    ];

    /// The settings cloudflared has by itself, with its metrics on a free local port.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            edges: Self::EDGES.map(str::to_owned).to_vec(),
            roots: RootCertStore::empty(),
            metrics: "127.0.0.1:0".into(),
            connections: 4,
            grace: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
            origin: None,
        }
    }
}

/// Why a connector does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The token is not base64 of the expected JSON.
    #[error("Provided Tunnel token is not valid.")]
    Token,
    /// The metrics address cannot be had.
    #[error("listen on {0}")]
    Listen(String, #[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

/// What the tasks of a connector share.
struct Shared {
    id: Uuid,
    token: Token,
    edges: Vec<String>,
    backoff: Duration,
    origin: Option<SocketAddr>,
    verified: Arc<rustls::ClientConfig>,
    unverified: Arc<rustls::ClientConfig>,
    rules: RwLock<(Option<u64>, Arc<Rules>)>,
    ready: AtomicUsize,
    requests: AtomicU64,
    errors: AtomicU64,
    failures: AtomicU64,
    leaving: CancellationToken,
    tasks: Tasks,
}

impl Shared {
    fn rules(&self) -> Arc<Rules> {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }

    /// Takes a configuration over, unless it is older than what is known.
    fn configure(&self, new: &Configuration) -> Result<(), crate::ingress::Error> {
        let rules = Rules::read(&new.config)?;
        let mut known = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if known.0.is_none_or(|version| version < new.version) {
            *known = (Some(new.version), Arc::new(rules));
            tracing::info!(config = %new.config, version = new.version, "Updated to new configuration");
        }
        Ok(())
    }

    fn ready(&self) -> usize {
        if self.leaving.is_cancelled() {
            0
        } else {
            self.ready.load(Ordering::Relaxed)
        }
    }
}

/// A connector under way. It ends when dropped, at once and without grace.
pub struct Connector {
    shared: Arc<Shared>,
    /// Serves the metrics until the last request is done.
    admin: Tasks,
    metrics: SocketAddr,
    grace: Duration,
}

impl Connector {
    /// Starts a connector; it keeps trying to reach the edge until it is stopped.
    ///
    /// # Errors
    /// The token is not one, or the metrics address cannot be had.
    pub async fn start(settings: ConnectorSettings) -> Result<Self, ConnectorError> {
        let token = Token::decode(&settings.token).ok_or(ConnectorError::Token)?;
        let listen = |error| ConnectorError::Listen(settings.metrics.clone(), error);
        let listener = TcpListener::bind(&settings.metrics).await.map_err(listen)?;
        let metrics = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared {
            id: Uuid::new_v4(),
            token,
            edges: settings.edges,
            backoff: settings.backoff,
            origin: settings.origin,
            verified: tls::client(settings.roots)?,
            unverified: tls::unverified_client()?,
            rules: RwLock::default(),
            ready: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            leaving: CancellationToken::new(),
            tasks: Tasks::default(),
        });
        tracing::info!(tunnelID = %shared.token.tunnel, "Starting tunnel");
        tracing::info!("Version {}", ConnectorSettings::VERSION);
        tracing::info!("Generated Connector ID: {}", shared.id);
        tracing::info!("Starting metrics server on {metrics}/metrics");
        let admin = Tasks::default();
        admin.spawn(metrics::serve(listener, shared.clone(), admin.clone()));
        for index in 0..settings.connections {
            shared.tasks.spawn(dial::keep(shared.clone(), index));
        }

        Ok(Self {
            shared,
            admin,
            metrics,
            grace: settings.grace,
        })
    }

    /// Where `/ready` and `/metrics` are served.
    #[must_use]
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// Leaves the edge: no new request comes, those under way have the grace period.
    pub async fn stop(self) {
        self.shared.leaving.cancel();
        if tokio::time::timeout(self.grace, self.shared.tasks.ended())
            .await
            .is_err()
        {
            tracing::warn!("the grace period is over, requests are cut");
        }

        self.shared.tasks.stop().await;
        self.admin.stop().await;
        tracing::info!("Tunnel server stopped");
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.shared.tasks.cancel();
        self.admin.cancel();
    }
}
