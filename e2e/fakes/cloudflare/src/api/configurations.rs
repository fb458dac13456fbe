//! The configuration of a tunnel: one document, replaced as a whole.
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Shared, done,
    envelope::Problem,
    tunnels::{find_live, not_found},
};
use crate::{clock, cloud::Cloud, counters::Event, ingress::Rules, tunnel::Tunnel};

#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    config: Value,
}

fn describe(cloud: &Cloud, tunnel: &Tunnel) -> Value {
    json!({
        "tunnel_id": tunnel.id,
        "account_id": tunnel.account(&cloud.account),
        "version": tunnel.version,
        "config": tunnel.config,
        "source": tunnel.config_src,
        "created_at": tunnel.created_at,
    })
}

pub(crate) async fn get(
    State(cloud): Shared,
    Path((account, id)): Path<(String, String)>,
) -> Answer {
    let tunnel = find_live(&cloud, &account, &id)?;
    done(describe(&cloud, &tunnel))
}

pub(crate) async fn put(
    State(cloud): Shared,
    Path((account, id)): Path<(String, String)>,
    body: Result<Json<Body>, JsonRejection>,
) -> Answer {
    let tunnel = find_live(&cloud, &account, &id)?;
    let bad = |reason: String| Problem::bad(1056, format!("Bad Configuration: {reason}"));
    let Json(body) = body.map_err(|rejection| bad(rejection.body_text()))?;
    if body.config.is_null() {
        return Err(bad("config is required".into()));
    }

    Rules::read(&body.config).map_err(|error| bad(format!("Validation failed: {error}")))?;
    let mut config = body.config;
    if let Some(fields) = config.as_object_mut() {
        fields
            .entry("warp-routing")
            .or_insert_with(|| json!({"enabled": false}));
    }

    let changed = cloud.store.write(|data| {
        let tunnel = data
            .tunnel_mut(tunnel.id)
            .filter(|tunnel| tunnel.live())
            .ok_or_else(not_found)?;
        tunnel.version += 1;
        tunnel.config = config;
        Ok::<_, Problem>(tunnel.clone())
    })?;
    cloud.counters.tunnel(Event::Update, &changed.name);
    let mut described = describe(&cloud, &changed);
    if let Some(fields) = described.as_object_mut() {
        fields.insert("created_at".into(), json!(clock::now()));
    }

    done(described)
}
