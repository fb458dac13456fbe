//! Logs, traces and metrics.

mod metrics;
mod trace;

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

pub use metrics::Metrics;
pub(crate) use metrics::{Handled, VerbLabel};
pub use trace::{join_workspace, root_span, workspace_context, workspace_span};

/// How long the last traces may take to leave.
const FLUSH: Duration = Duration::from_secs(3);

/// Logs or traces cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The endpoint is no URL.
    #[error("cannot export traces")]
    Exporter(#[from] ExporterBuildError),
    /// It was set up before.
    #[error("there are logs already")]
    Twice(#[from] TryInitError),
}

/// The traces of this process; without an endpoint there are none.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Logs JSON to standard output, and sends traces to an endpoint if there is one.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn start(
        name: &'static str,
        filter: Targets,
        endpoint: Option<&str>,
    ) -> Result<Self, TelemetryError> {
        let provider = endpoint
            .map(|endpoint| provider(name, endpoint))
            .transpose()?;
        let traces = provider.as_ref().map(|provider| {
            // The exporter's own spans would be traced for ever, and every read of an object that
            // is as it should be.
            let others = [
                "h2",
                "hyper",
                "kube_runtime",
                "opentelemetry",
                "tonic",
                "tower",
            ]
            .map(|target| (target, LevelFilter::OFF));
            let ours = Targets::new()
                .with_default(LevelFilter::INFO)
                .with_targets(others);
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(name))
                .with_filter(ours)
        });
        let logs = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false);
        tracing_subscriber::registry()
            .with(traces)
            .with(logs.with_filter(filter))
            .try_init()?;
        if let Some(provider) = &provider {
            opentelemetry::global::set_tracer_provider(provider.clone());
        }
        Ok(Self { provider })
    }

    /// Sends what is left.
    pub(crate) async fn flush(self) {
        let Some(provider) = self.provider else {
            return;
        };

        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            warn!("Failed to flush the last traces");
        }
    }
}

fn provider(name: &'static str, endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_id_generator(trace::Ids::default())
        .with_resource(Resource::builder().with_service_name(name).build())
        .with_batch_exporter(exporter)
        .build())
}

/// Makes ring the provider of TLS for this process.
pub(crate) fn tls() {
    // It fails only if there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}
