//! What tests ask of the stand-in itself: counters, what lives, faults, the token.
use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post, put},
};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use crate::{
    cloud::Cloud,
    counters::Counts,
    faults::Fault,
    limit::{Limit, Limiter},
    listen,
    tasks::Tasks,
};

type Shared = State<Arc<Cloud>>;

pub(crate) async fn serve(listener: TcpListener, cloud: Arc<Cloud>, tasks: Tasks) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/counters", get(counters))
        .route("/live", get(live))
        .route("/faults", get(faults).put(set_faults).delete(clear_faults))
        .route("/token", put(set_token))
        .route("/limit", put(set_limit))
        .route("/reset", post(reset))
        .with_state(cloud);
    listen::http(listener, None, tasks, |_peer: SocketAddr| {
        TowerToHyperService::new(router.clone())
    })
    .await;
}

async fn counters(State(cloud): Shared) -> Json<Counts> {
    Json(cloud.counters.all())
}

async fn reset(State(cloud): Shared) -> StatusCode {
    cloud.counters.reset();
    StatusCode::NO_CONTENT
}

async fn live(State(cloud): Shared) -> Json<Value> {
    let (tunnels, records) = cloud.store.read(|data| {
        let live: Vec<_> = data
            .tunnels
            .iter()
            .filter(|tunnel| tunnel.live())
            .cloned()
            .collect();
        (live, data.records.clone())
    });
    let connectors: Vec<_> = tunnels
        .iter()
        .flat_map(|tunnel| cloud.links.all(tunnel.id).into_iter().map(move |link| (tunnel, link)))
        .map(|(tunnel, link)| {
            json!({
                "tunnel": tunnel.id, "tunnel_name": tunnel.name, "connector": link.connector,
                "connection": link.id, "origin_ip": link.origin, "config_version": link.config_version,
            })
        })
        .collect();
    let tunnels: Vec<_> = tunnels
        .iter()
        .map(|tunnel| {
            json!({
                "id": tunnel.id, "name": tunnel.name, "status": tunnel.status(cloud.links.count(tunnel.id)),
                "version": tunnel.version, "config": tunnel.config,
            })
        })
        .collect();
    Json(json!({
        "account": cloud.account,
        "zone": {"id": cloud.zone.id, "name": cloud.zone.name},
        "tunnels": tunnels,
        "records": records,
        "connectors": connectors,
    }))
}

async fn faults(State(cloud): Shared) -> Json<Vec<Fault>> {
    Json(cloud.faults.all())
}

async fn set_faults(State(cloud): Shared, Json(faults): Json<Vec<Fault>>) -> StatusCode {
    cloud.faults.set(faults);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(cloud): Shared) -> StatusCode {
    cloud.faults.set(Vec::new());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct NewToken {
    /// `null` revokes the token.
    token: Option<String>,
}

async fn set_token(State(cloud): Shared, Json(new): Json<NewToken>) -> StatusCode {
    *cloud.token.lock().unwrap_or_else(PoisonError::into_inner) = new.token;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct NewLimit {
    requests: u32,
    window_seconds: u64,
}

async fn set_limit(State(cloud): Shared, Json(new): Json<NewLimit>) -> StatusCode {
    let limit = Limit {
        requests: new.requests,
        window: Duration::from_secs(new.window_seconds),
    };
    *cloud.limiter.lock().unwrap_or_else(PoisonError::into_inner) =
        Limiter::new(limit, Instant::now());
    StatusCode::NO_CONTENT
}
