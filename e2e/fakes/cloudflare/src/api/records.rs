//! DNS records of the zone.
use axum::{
    Extension, Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Answer, Hidden, Shared, done,
    envelope::{Filter, Problem, page},
    zones,
};
use crate::{
    clock,
    cloud::Cloud,
    counters::Event,
    record::{Content, Record, unique},
};

fn describe(record: &Record) -> Value {
    let mut described = json!(record);
    if let Some(fields) = described.as_object_mut() {
        fields.insert("proxiable".into(), json!(record.content.kind.proxiable()));
        fields.insert("settings".into(), json!({}));
        fields.insert("meta".into(), json!({}));
    }
    described
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, 81044, "Record does not exist.")
}

type Sent = Result<Json<Map<String, Value>>, JsonRejection>;

fn fields(sent: Sent) -> Result<Map<String, Value>, Problem> {
    sent.map(|Json(fields)| fields)
        .map_err(|_rejection| Problem::bad(9207, "Request body is invalid."))
}

pub(crate) async fn create(State(cloud): Shared, Path(zone): Path<String>, sent: Sent) -> Answer {
    zones::check(&cloud, &zone)?;
    let content = Content::read(Value::Object(fields(sent)?), &cloud.zone.name)?;
    let now = clock::now();
    let record = Record {
        id: Uuid::new_v4().simple().to_string(),
        comment_modified_on: content.comment.as_ref().map(|_| now),
        content,
        created_on: now,
        modified_on: now,
    };

    cloud.store.write(|data| {
        unique(&record.content, None, &data.records)?;
        data.records.push(record.clone());
        Ok::<_, Problem>(())
    })?;
    cloud.counters.record(Event::Create, &record.content.name);
    done(describe(&record))
}

pub(crate) async fn list(
    State(cloud): Shared,
    Path(zone): Path<String>,
    Query(filter): Query<Filter>,
    Extension(lag): Hidden,
) -> Answer {
    zones::check(&cloud, &zone)?;
    let mut records = cloud.store.read(|data| data.records.clone());
    records.sort_by(|one, other| one.content.name.cmp(&other.content.name));

    let shown: Vec<_> = records
        .iter()
        .filter(|record| lag.shows(record.created_on) && selects(&filter, &record.content))
        .map(describe)
        .collect();
    page(&shown, &filter, 100, 5_000_000)
}

/// Whether the filters of a list select a record: all of them, or with `match=any` one of them.
fn selects(filter: &Filter, content: &Content) -> bool {
    let mut tests = filter
        .iter()
        .filter_map(|(name, wanted)| test(name, wanted, content))
        .peekable();
    let any = filter.get("match").is_some_and(|mode| mode == "any");
    match any && tests.peek().is_some() {
        true => tests.any(|passed| passed),
        false => tests.all(|passed| passed),
    }
}

/// What one filter says of a record; nothing if it is not a filter.
fn test(name: &str, wanted: &str, content: &Content) -> Option<bool> {
    let (field, form) = name.split_once('.').unwrap_or((name, "exact"));
    let wanted = wanted.to_ascii_lowercase();
    let comment = content.comment.as_deref();
    let value = match field {
        "name" => &content.name,
        "content" => &content.content,
        "comment" => comment.unwrap_or_default(),
        "type" => content.kind.as_str(),
        "proxied" => return Some((wanted == "true") == content.proxied),
        _ => return None,
    }
    .to_ascii_lowercase();

    match form {
        "exact" => Some(value == wanted),
        "contains" => Some(value.contains(&wanted)),
        "startswith" => Some(value.starts_with(&wanted)),
        "endswith" => Some(value.ends_with(&wanted)),
        "present" => Some(comment.is_some()),
        "absent" => Some(comment.is_none()),
        _ => None,
    }
}

type Ids = Path<(String, String)>;

pub(crate) async fn get(State(cloud): Shared, Path((zone, id)): Ids) -> Answer {
    zones::check(&cloud, &zone)?;
    let found = cloud
        .store
        .read(|data| data.records.iter().find(|record| record.id == id).cloned());
    done(describe(&found.ok_or_else(not_found)?))
}

pub(crate) async fn put(State(cloud): Shared, Path((zone, id)): Ids, sent: Sent) -> Answer {
    let sent = fields(sent)?;
    change(&cloud, &zone, &id, |_old| {
        Ok(Content::read(Value::Object(sent), &cloud.zone.name)?)
    })
}

pub(crate) async fn patch(State(cloud): Shared, Path((zone, id)): Ids, sent: Sent) -> Answer {
    let sent = fields(sent)?;
    change(&cloud, &zone, &id, |old| {
        Ok(old.patched(sent, &cloud.zone.name)?)
    })
}

fn change(
    cloud: &Cloud,
    zone: &str,
    id: &str,
    next: impl FnOnce(&Content) -> Result<Content, Problem>,
) -> Answer {
    zones::check(cloud, zone)?;
    let changed = cloud.store.write(|data| {
        let old = data
            .records
            .iter()
            .find(|record| record.id == id)
            .ok_or_else(not_found)?;
        let content = next(&old.content)?;
        unique(&content, Some(id), &data.records)?;

        let record = data
            .records
            .iter_mut()
            .find(|record| record.id == id)
            .ok_or_else(not_found)?;
        let now = clock::now();

        if record.content.comment != content.comment {
            record.comment_modified_on = content.comment.as_ref().map(|_| now);
        }

        record.modified_on = now;
        record.content = content;
        Ok::<_, Problem>(record.clone())
    })?;
    cloud.counters.record(Event::Update, &changed.content.name);
    done(describe(&changed))
}

pub(crate) async fn delete(State(cloud): Shared, Path((zone, id)): Ids) -> Answer {
    zones::check(&cloud, &zone)?;
    let deleted = cloud.store.write(|data| {
        let position = data
            .records
            .iter()
            .position(|record| record.id == id)
            .ok_or_else(not_found)?;
        Ok::<_, Problem>(data.records.remove(position))
    })?;
    cloud.counters.record(Event::Delete, &deleted.content.name);
    done(json!({"id": deleted.id}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(query: &[(&str, &str)]) -> bool {
        let body = json!({
            "type": "CNAME", "name": "api.pr-1", "content": "x.cfargotunnel.com", "comment": "owner=uid-1", "proxied": true,
        });
        let content = Content::read(body, "yourdomain.com").unwrap();
        let filter = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        selects(&filter, &content)
    }

    #[test]
    fn filters_select_by_their_plain_and_dotted_forms() {
        assert!(selected(&[]));
        assert!(selected(&[
            ("name", "API.pr-1.yourdomain.com"),
            ("type", "CNAME"),
            ("page", "2")
        ]));
        assert!(!selected(&[("name", "api.pr-1")]));
        assert!(selected(&[
            ("name.exact", "api.pr-1.yourdomain.com"),
            ("comment.exact", "owner=uid-1")
        ]));
        assert!(!selected(&[
            ("name.exact", "api.pr-1.yourdomain.com"),
            ("comment.exact", "owner=uid-2")
        ]));
        assert!(selected(&[
            ("comment.startswith", "owner="),
            ("content.endswith", ".cfargotunnel.com")
        ]));
        assert!(selected(&[
            ("comment.present", ""),
            ("name.contains", "pr-1"),
            ("proxied", "true")
        ]));
        assert!(!selected(&[("comment.absent", "")]));
        assert!(selected(&[
            ("match", "any"),
            ("type", "A"),
            ("name.contains", "pr-1")
        ]));
        assert!(!selected(&[("match", "any"), ("type", "A")]));
        assert!(selected(&[("match", "any")]));
    }
}
