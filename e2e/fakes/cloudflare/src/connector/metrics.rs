//! `/ready`, `/healthcheck` and `/metrics`, as cloudflared serves them.
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;

use super::Shared;
use crate::{listen, tasks::Tasks};

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, tasks: Tasks) {
    let router = Router::new()
        .route("/ready", get(ready))
        .route("/healthcheck", get(|| async { "OK\n" }))
        .route("/metrics", get(metrics))
        .with_state(shared);
    listen::http(listener, None, tasks, |_peer: SocketAddr| {
        TowerToHyperService::new(router.clone())
    })
    .await;
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let connections = shared.ready();
    let status = if connections > 0 {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };

    let body = json!({"status": status.as_u16(), "readyConnections": connections, "connectorId": shared.id});
    (status, Json(body)).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let metric = |kind: &str, name: &str, help: &str, value: u64| {
        format!(
            "# HELP cloudflared_tunnel_{name} {help}\n# TYPE cloudflared_tunnel_{name} {kind}\ncloudflared_tunnel_{name} {value}\n"
        )
    };
    let ready = u64::try_from(shared.ready()).unwrap_or_default();
    let text = [
        metric(
            "gauge",
            "ha_connections",
            "Number of active ha connections",
            ready,
        ),
        metric(
            "counter",
            "total_requests",
            "Amount of requests proxied",
            shared.requests.load(Ordering::Relaxed),
        ),
        metric(
            "counter",
            "tunnel_register_fail",
            "Count of failed or lost connections",
            shared.failures.load(Ordering::Relaxed),
        ),
        metric(
            "counter",
            "request_errors",
            "Count of error proxying to origin",
            shared.errors.load(Ordering::Relaxed),
        ),
    ]
    .concat();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
