//! The one zone of the account.
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::{
    Answer, Shared, done,
    envelope::{Filter, Problem, page},
};
use crate::cloud::Cloud;

fn zone(cloud: &Cloud) -> Value {
    json!({
        "id": cloud.zone.id,
        "name": cloud.zone.name,
        "status": "active",
        "paused": false,
        "type": "full",
        "development_mode": 0,
        "name_servers": crate::dns::NAME_SERVERS,
        "original_name_servers": [],
        "account": {"id": cloud.account, "name": "The account"},
        "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
        "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website"},
        "created_on": "2026-01-01T00:00:00.000000Z",
        "modified_on": "2026-01-01T00:00:00.000000Z",
        "activated_on": "2026-01-01T00:00:00.000000Z",
    })
}

pub(crate) async fn list(State(cloud): Shared, Query(filter): Query<Filter>) -> Answer {
    let wants = |name: &str, is: &str| {
        filter
            .get(name)
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
    };

    let shown = wants("name", &cloud.zone.name)
        && wants("account.id", &cloud.account)
        && wants("status", "active");
    let zones = if shown {
        vec![zone(&cloud)]
    } else {
        Vec::new()
    };

    page(&zones, &filter, 20, 50)
}

pub(crate) async fn get(State(cloud): Shared, Path(id): Path<String>) -> Answer {
    check(&cloud, &id)?;
    done(zone(&cloud))
}

pub(crate) fn check(cloud: &Cloud, id: &str) -> Result<(), Problem> {
    if id == cloud.zone.id {
        Ok(())
    } else {
        Err(super::foreign("zones", id))
    }
}
