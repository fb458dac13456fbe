//! The admin port: `/livez`, `/readyz`, `/metrics`.

use std::io;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::readiness::Readiness;
use crate::telemetry::Metrics;

/// Serves until the future is dropped. A service with pages of its own on this port adds them as
/// `more`.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    more: Router,
) -> io::Result<()> {
    let ready = move || async move { ready(&readiness.missing()) };
    let metrics = move || async move {
        (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            metrics.text(),
        )
    };

    let router = Router::new()
        // That the process answers, and nothing else: a restart heals nothing outside it.
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    axum::serve(listener, router.merge(more)).await
}

fn ready(missing: &[String]) -> impl IntoResponse + use<> {
    if missing.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("missing: {}", missing.join(", ")),
        )
    }
}
