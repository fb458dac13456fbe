//! Records at Cloudflare. The mark is the record's comment.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Provider, Record, RecordType, Seen, Wanted};
use crate::cloudflare::{Cloudflare, DEADLINE, NAME, Problem};
use crate::error::Error;

/// The shortest TTL of a zone.
pub const SHORTEST: u32 = 60;

/// The TTL of a proxied record: automatic.
const AUTOMATIC: u32 = 1;

/// Codes that say that another record stands in the way, or that the one to change is gone: what
/// was seen is old.
const RACED: [u64; 5] = [81044, 81053, 81054, 81057, 81058];

#[derive(Clone, Debug)]
pub struct Zones {
    api: Cloudflare,
    quarantine: std::time::Duration,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    content: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    proxied: bool,
    comment: Option<String>,
}

impl Zones {
    /// With this token. `quarantine` is waited where the outcome of a call is unknown.
    #[must_use]
    pub fn new(api: Cloudflare, quarantine: std::time::Duration) -> Self {
        Self { api, quarantine }
    }

    fn problem(&self, problem: Problem) -> Error {
        match problem {
            Problem::Refused { code, .. } if RACED.contains(&code) => Error::Changed,
            Problem::Refused { .. } => Error::DnsRefused(problem.to_string()),
            Problem::Limited(wait) => Error::Limited(NAME, wait),
            Problem::Away(why) => Error::Away(NAME, why),
            Problem::Unknown => Error::Unknown(NAME, DEADLINE.saturating_add(self.quarantine)),
        }
    }
}

/// A zone's records, or one of them.
fn path(seen: &Seen, record: Option<&Record>) -> Result<String, Error> {
    let zone = seen.zone_id.as_deref().ok_or(Error::Changed)?;
    let records = format!("/zones/{zone}/dns_records");

    match record {
        None => Ok(records),
        Some(record) => Ok(format!(
            "{records}/{}",
            record.id.as_deref().ok_or(Error::Changed)?
        )),
    }
}

fn body(wanted: &Wanted) -> Value {
    json!({
        "type": wanted.kind.as_str(), "name": wanted.fqdn, "content": wanted.target, "proxied": wanted.proxied,
        "ttl": if wanted.proxied { AUTOMATIC } else { wanted.ttl }, "comment": wanted.mark.to_string(),
    })
}

impl Provider for Zones {
    async fn observe(&self, wanted: &Wanted) -> Result<Seen, Error> {
        let zones: Vec<Zone> = self
            .api
            .get("/zones", &[("name", &wanted.zone)])
            .await
            .map_err(|p| self.problem(p))?;
        let zone = zones
            .into_iter()
            .next()
            .ok_or_else(|| Error::DnsRefused(format!("the token sees no zone {}", wanted.zone)))?;
        let query = [("name.exact", wanted.fqdn.as_str()), ("per_page", "100")];
        let records = format!("/zones/{}/dns_records", zone.id);
        let found: Vec<Found> = self
            .api
            .get(&records, &query)
            .await
            .map_err(|p| self.problem(p))?;
        let records = found
            .into_iter()
            .filter_map(|found| record(found, wanted))
            .collect();

        Ok(Seen {
            zone_id: Some(zone.id),
            records,
            notes: Vec::new(),
        })
    }

    async fn put(&self, wanted: &Wanted, seen: &Seen, replaced: &[Record]) -> Result<(), Error> {
        let (method, record) = match replaced.split_first() {
            None => (Method::POST, None),
            Some((first, rest)) => {
                self.delete(wanted, seen, rest).await?;
                (Method::PUT, Some(first))
            }
        };

        let done = self
            .api
            .send::<Value>(method, &path(seen, record)?, &body(wanted))
            .await;
        done.map(drop).map_err(|problem| self.problem(problem))
    }

    async fn delete(&self, _wanted: &Wanted, seen: &Seen, records: &[Record]) -> Result<(), Error> {
        for record in records {
            self.api
                .delete(&path(seen, Some(record))?)
                .await
                .map_err(|problem| self.problem(problem))?;
        }
        Ok(())
    }
}

/// A record that matters: texts stand beside anything, and the filter is Cloudflare's.
fn record(found: Found, wanted: &Wanted) -> Option<Record> {
    let kind = match found.kind.as_str() {
        "A" => RecordType::A,
        "AAAA" => RecordType::Aaaa,
        "CNAME" => RecordType::Cname,
        "TXT" if wanted.kind == RecordType::Txt => RecordType::Txt,
        _ => return None,
    };
    let target = if kind == RecordType::Txt {
        found.content.trim_matches('"').to_owned()
    } else {
        found.content
    };
    Some(Record {
        id: Some(found.id),
        kind,
        target,
        ttl: found.ttl,
        proxied: found.proxied,
        note: found.comment,
    })
}
