//! Tunnels: create, list, get, rename, delete, their tokens and their connections.
use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Answer, Hidden, Shared, account, done,
    envelope::{Filter, Problem, page},
};
use crate::{
    clock,
    cloud::Cloud,
    counters::Event,
    links::Link,
    state::Data,
    tunnel::{Tunnel, is_secret},
};

#[derive(Deserialize)]
pub(crate) struct Draft {
    name: Option<String>,
    config_src: Option<String>,
    tunnel_secret: Option<String>,
}

fn describe(cloud: &Cloud, tunnel: &Tunnel) -> Value {
    let links = cloud.links.all(tunnel.id);
    json!({
        "id": tunnel.id,
        "account_tag": tunnel.account(&cloud.account),
        "name": tunnel.name,
        "status": tunnel.status(links.len()),
        "created_at": tunnel.created_at,
        "deleted_at": tunnel.deleted_at,
        "conns_active_at": tunnel.conns_active_at,
        "conns_inactive_at": tunnel.conns_inactive_at,
        "connections": links.iter().map(connection).collect::<Vec<_>>(),
        "config_src": tunnel.config_src,
        "remote_config": tunnel.config_src == "cloudflare",
        "tun_type": "cfd_tunnel",
        "metadata": {},
    })
}

fn connection(link: &Link) -> Value {
    json!({
        "id": link.id,
        "uuid": link.id,
        "client_id": link.connector,
        "client_version": link.version,
        "colo_name": "tst01",
        "is_pending_reconnect": false,
        "opened_at": link.opened,
        "origin_ip": link.origin,
    })
}

pub(crate) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, 1003, "Tunnel not found")
}

fn name_taken(data: &Data, account: Option<&str>, name: &str) -> Result<(), Problem> {
    let same = |tunnel: &&Tunnel| {
        tunnel.live() && tunnel.name == name && tunnel.account.as_deref() == account
    };

    if data.tunnels.iter().any(|tunnel| same(&tunnel)) {
        let message = "You already have a tunnel with this name. \
                       Delete the existing tunnel, or choose a different name for your new tunnel";
        return Err(Problem::new(StatusCode::CONFLICT, 1013, message));
    }

    Ok(())
}

fn malformed(rejection: &JsonRejection) -> Problem {
    Problem::bad(
        1002,
        format!(
            "Failed to decode the request body: {}",
            rejection.body_text()
        ),
    )
}

pub(crate) async fn create(
    State(cloud): Shared,
    Path(id): Path<String>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Answer {
    account(&cloud, &id)?;
    let Json(draft) = draft.map_err(|rejection| malformed(&rejection))?;
    let name = draft
        .name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Problem::bad(1001, "Tunnel name is required"))?;
    let source = draft.config_src.unwrap_or_else(|| "local".into());
    if !["local", "cloudflare"].contains(&source.as_str()) {
        return Err(Problem::bad(
            1002,
            "Invalid config_src: must be local or cloudflare",
        ));
    }

    if draft
        .tunnel_secret
        .as_deref()
        .is_some_and(|secret| !is_secret(secret))
    {
        return Err(Problem::bad(
            1004,
            "Invalid tunnel secret: must be at least 32 bytes, encoded as base64",
        ));
    }

    let account = Some(id).filter(|id| *id != cloud.account);
    let tunnel = Tunnel {
        account,
        ..Tunnel::new(name, source, draft.tunnel_secret)
    };

    cloud.store.write(|data| {
        name_taken(data, tunnel.account.as_deref(), &tunnel.name)?;
        data.tunnels.push(tunnel.clone());
        Ok::<_, Problem>(())
    })?;
    cloud.counters.tunnel(Event::Create, &tunnel.name);
    let mut result = describe(&cloud, &tunnel);
    if let Some(fields) = result.as_object_mut() {
        // Only the answer to the creation carries the credentials.
        fields.insert("token".into(), json!(tunnel.token(&cloud.account)));
        let file = json!({
            "AccountTag": tunnel.account(&cloud.account), "TunnelID": tunnel.id,
            "TunnelName": tunnel.name, "TunnelSecret": tunnel.secret,
        });
        fields.insert("credentials_file".into(), file);
    }

    done(result)
}

pub(crate) async fn list(
    State(cloud): Shared,
    Path(id): Path<String>,
    Query(filter): Query<Filter>,
    Extension(lag): Hidden,
) -> Answer {
    account(&cloud, &id)?;
    let wants = |name: &str, matches: &dyn Fn(&str) -> bool| {
        filter.get(name).is_none_or(|wanted| matches(wanted))
    };

    let tunnels = cloud.store.read(|data| data.tunnels.clone());
    let shown: Vec<_> = tunnels
        .iter()
        .filter(|tunnel| tunnel.account(&cloud.account) == id)
        .filter(|tunnel| lag.shows(tunnel.created_at))
        .filter(|tunnel| wants("name", &|name| tunnel.name == name))
        .filter(|tunnel| wants("include_prefix", &|prefix| tunnel.name.starts_with(prefix)))
        .filter(|tunnel| wants("exclude_prefix", &|prefix| !tunnel.name.starts_with(prefix)))
        .filter(|tunnel| {
            wants("uuid", &|uuid| {
                tunnel.id.to_string() == uuid.to_ascii_lowercase()
            })
        })
        .filter(|tunnel| {
            wants("is_deleted", &|deleted| {
                tunnel.live() == (deleted != "true")
            })
        })
        .filter(|tunnel| {
            wants("status", &|status| {
                tunnel.status(cloud.links.count(tunnel.id)) == status
            })
        })
        .map(|tunnel| describe(&cloud, tunnel))
        .collect();
    page(&shown, &filter, 100, 1_000)
}

/// The tunnel a path names, deleted or not.
pub(crate) fn find(cloud: &Cloud, account_id: &str, id: &str) -> Result<Tunnel, Problem> {
    account(cloud, account_id)?;
    let id: Uuid = id.parse().map_err(|_invalid| not_found())?;
    let found = cloud.store.read(|data| data.tunnel(id).cloned());
    found
        .filter(|tunnel| tunnel.account(&cloud.account) == account_id)
        .ok_or_else(not_found)
}

/// The tunnel a path names, if it still lives.
pub(crate) fn find_live(cloud: &Cloud, account_id: &str, id: &str) -> Result<Tunnel, Problem> {
    find(cloud, account_id, id).and_then(|tunnel| {
        if tunnel.live() {
            Ok(tunnel)
        } else {
            Err(not_found())
        }
    })
}

type Ids = Path<(String, String)>;

pub(crate) async fn get(State(cloud): Shared, Path((account, id)): Ids) -> Answer {
    done(describe(&cloud, &find(&cloud, &account, &id)?))
}

pub(crate) async fn token(State(cloud): Shared, Path((account, id)): Ids) -> Answer {
    done(find_live(&cloud, &account, &id)?.token(&cloud.account))
}

pub(crate) async fn rename(
    State(cloud): Shared,
    Path((account, id)): Ids,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Answer {
    let Json(draft) = draft.map_err(|rejection| malformed(&rejection))?;
    let tunnel = find_live(&cloud, &account, &id)?;
    let renamed = cloud.store.write(|data| {
        if let Some(name) = draft
            .name
            .filter(|name| !name.is_empty() && *name != tunnel.name)
        {
            name_taken(data, tunnel.account.as_deref(), &name)?;
            data.tunnel_mut(tunnel.id).ok_or_else(not_found)?.name = name;
        }
        data.tunnel(tunnel.id).cloned().ok_or_else(not_found)
    })?;
    done(describe(&cloud, &renamed))
}

pub(crate) async fn delete(State(cloud): Shared, Path((account, id)): Ids) -> Answer {
    let tunnel = find_live(&cloud, &account, &id)?;
    let deleted = cloud.store.write(|data| {
        if cloud.links.count(tunnel.id) > 0 {
            return Err(Problem::bad(
                1022,
                "Cannot delete tunnel because it has active connections",
            ));
        }

        let tunnel = data
            .tunnel_mut(tunnel.id)
            .filter(|tunnel| tunnel.live())
            .ok_or_else(not_found)?;
        tunnel.deleted_at = Some(clock::now());
        Ok(tunnel.clone())
    })?;
    cloud.counters.tunnel(Event::Delete, &deleted.name);
    done(describe(&cloud, &deleted))
}

pub(crate) async fn connections(State(cloud): Shared, Path((account, id)): Ids) -> Answer {
    let tunnel = find(&cloud, &account, &id)?;
    let mut connectors = BTreeMap::<Uuid, Vec<Link>>::new();

    for link in cloud.links.all(tunnel.id) {
        connectors.entry(link.connector).or_default().push(link);
    }

    let described = connectors.into_iter().filter_map(|(id, links)| {
        let first = links.iter().min_by_key(|link| link.opened)?;
        Some(json!({
            "id": id,
            "arch": first.arch,
            "version": first.version,
            "features": [],
            "run_at": first.opened,
            "config_version": first.config_version,
            "conns": links.iter().map(connection).collect::<Vec<_>>(),
        }))
    });
    done(described.collect::<Vec<_>>())
}

pub(crate) async fn cut(
    State(cloud): Shared,
    Path((account, id)): Ids,
    Query(filter): Query<Filter>,
) -> Answer {
    let tunnel = find_live(&cloud, &account, &id)?;
    let connector = match filter.get("client_id").map(|id| id.parse::<Uuid>()) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(Problem::bad(1004, "Invalid client_id")),
    };

    cloud.links.cut(tunnel.id, connector);
    done(Value::Null)
}
