//! A DNS record as the API stores it: what a request may ask for, and which records may stand side
//! by side.
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::name;

/// The longest comment a zone on the free plan takes.
const COMMENT_LIMIT: usize = 100;
/// `1` stands for "automatic".
pub(crate) const AUTOMATIC: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    A,
    #[serde(rename = "AAAA")]
    Aaaa,
    #[serde(rename = "CNAME")]
    Cname,
    #[serde(rename = "TXT")]
    Txt,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::A, Self::Aaaa, Self::Cname, Self::Txt]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    pub(crate) fn is_address(self) -> bool {
        matches!(self, Self::A | Self::Aaaa)
    }

    pub(crate) fn proxiable(self) -> bool {
        !matches!(self, Self::Txt)
    }
}

/// What a valid request asks a record to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) content: String,
    pub(crate) proxied: bool,
    pub(crate) ttl: u32,
    pub(crate) comment: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) content: Content,
    pub(crate) created_on: Timestamp,
    pub(crate) modified_on: Timestamp,
    pub(crate) comment_modified_on: Option<Timestamp>,
}

/// The body of POST, PUT and PATCH before it is checked.
#[derive(Clone, Debug, Default, Deserialize)]
struct Draft {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<String>,
    proxied: Option<bool>,
    ttl: Option<u32>,
    comment: Option<String>,
    tags: Option<Vec<String>>,
}

/// Why the API refuses a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Refusal {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl Content {
    /// Reads the whole of a record from a request, as POST and PUT do.
    pub(crate) fn read(body: Value, zone: &str) -> Result<Self, Refusal> {
        let draft: Draft = serde_json::from_value(body)
            .map_err(|error| Refusal::new(9207, format!("Request body is invalid. {error}")))?;
        let kind = draft
            .kind
            .as_deref()
            .and_then(Kind::parse)
            .ok_or_else(|| Refusal::new(9004, "DNS record type is invalid."))?;
        let name = name::qualify(draft.name.as_deref().unwrap_or_default(), zone)
            .ok_or_else(|| Refusal::new(9000, "DNS name is invalid."))?;
        let proxied = draft.proxied.unwrap_or(false);
        if proxied && !kind.proxiable() {
            return Err(Refusal::new(
                9041,
                "Invalid proxied mode. Record cannot be proxied.",
            ));
        }

        let ttl = ttl(draft.ttl)?;
        let comment = draft.comment.filter(|comment| !comment.is_empty());
        if comment
            .as_ref()
            .is_some_and(|comment| comment.chars().count() > COMMENT_LIMIT)
        {
            let message = format!(
                "DNS record comment exceeds the maximum length of {COMMENT_LIMIT} characters."
            );
            return Err(Refusal::new(9313, message));
        }

        Ok(Self {
            content: target(kind, draft.content.as_deref().unwrap_or_default(), &name)?,
            name,
            kind,
            proxied,
            ttl: if proxied { AUTOMATIC } else { ttl },
            comment,
            tags: draft.tags.unwrap_or_default(),
        })
    }

    /// Lays the fields of a PATCH over the record it is for.
    pub(crate) fn patched(&self, patch: Map<String, Value>, zone: &str) -> Result<Self, Refusal> {
        let whole = match serde_json::to_value(self) {
            Ok(Value::Object(mut fields)) => {
                fields.extend(patch);
                fields
            }
            _ => patch,
        };
        Self::read(Value::Object(whole), zone)
    }

    /// Whether this content may stand beside `other`, a record of the same zone.
    fn beside(&self, other: &Self) -> Result<(), Refusal> {
        if self.name != other.name {
            return Ok(());
        }

        let hosts = |kind: Kind| kind.is_address() || kind == Kind::Cname;
        if self.kind == Kind::Cname && hosts(other.kind) {
            return Err(Refusal::new(
                81053,
                "An A, AAAA, or CNAME record with that host already exists.",
            ));
        }

        if self.kind.is_address() && other.kind == Kind::Cname {
            return Err(Refusal::new(
                81054,
                "A CNAME record with that host already exists.",
            ));
        }

        if self.kind == other.kind && self.content == other.content {
            return Err(Refusal::new(81058, "An identical record already exists."));
        }

        Ok(())
    }
}

/// Whether `content` may join `records`; `own` is the record it replaces, if any.
pub(crate) fn unique<'a>(
    content: &Content,
    own: Option<&str>,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Refusal> {
    records
        .into_iter()
        .filter(|record| Some(record.id.as_str()) != own)
        .try_for_each(|record| content.beside(&record.content))
}

fn ttl(asked: Option<u32>) -> Result<u32, Refusal> {
    match asked.unwrap_or(AUTOMATIC) {
        ttl @ (AUTOMATIC | 60..=86_400) => Ok(ttl),
        _ => Err(Refusal::new(
            9021,
            "TTL must be between 60 and 86400 seconds, or 1 for Automatic.",
        )),
    }
}

fn target(kind: Kind, content: &str, owner: &str) -> Result<String, Refusal> {
    match kind {
        Kind::A => content
            .parse::<Ipv4Addr>()
            .map(|address| address.to_string())
            .map_err(|_parse| {
                Refusal::new(9005, "Content for A record must be a valid IPv4 address.")
            }),
        Kind::Aaaa => content
            .parse::<Ipv6Addr>()
            .map(|address| address.to_string())
            .map_err(|_parse| {
                Refusal::new(
                    9006,
                    "Content for AAAA record must be a valid IPv6 address.",
                )
            }),
        Kind::Cname => {
            let host = content.trim_end_matches('.').to_ascii_lowercase();
            if host.parse::<Ipv4Addr>().is_ok() || host.starts_with('*') || !name::valid(&host) {
                Err(Refusal::new(9007, "Content for CNAME record is invalid."))
            } else if host == owner {
                Err(Refusal::new(9039, "CNAME content cannot reference itself."))
            } else {
                Ok(host)
            }
        }
        Kind::Txt if content.is_empty() => {
            Err(Refusal::new(9009, "Content for TXT record is invalid."))
        }
        Kind::Txt => Ok(content.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ZONE: &str = "yourdomain.com";

    fn read(body: Value) -> Result<Content, u32> {
        Content::read(body, ZONE).map_err(|refusal| refusal.code)
    }

    fn record(id: &str, body: Value) -> Record {
        let now = Timestamp::UNIX_EPOCH;
        let content = read(body).unwrap();

        Record {
            id: id.to_owned(),
            content,
            created_on: now,
            modified_on: now,
            comment_modified_on: None,
        }
    }

    #[test]
    fn a_name_outside_the_zone_is_refused_with_9000() {
        let body = json!({"type": "A", "name": "api.elsewhere.com.", "content": "192.0.2.1"});
        assert_eq!(read(body), Err(9000));
    }

    #[test]
    fn content_must_fit_the_type() {
        let code = |kind: &str, content: &str| {
            read(json!({"type": kind, "name": "x", "content": content}))
                .map(|_| 0)
                .unwrap_or_else(|code| code)
        };

        assert_eq!(code("A", "2001:db8::1"), 9005);
        assert_eq!(code("AAAA", "192.0.2.1"), 9006);
        assert_eq!(code("CNAME", "192.0.2.1"), 9007);
        assert_eq!(code("CNAME", "a b.com"), 9007);
        assert_eq!(code("CNAME", "x.yourdomain.com"), 9039);
        assert_eq!(code("TXT", ""), 9009);
        assert_eq!(code("SPF", "x"), 9004);
        assert_eq!(code("CNAME", "Other.Example.com."), 0);
    }

    #[test]
    fn ttl_comment_and_proxied_are_checked() {
        let with = |field: &str, value: Value| {
            let mut body = json!({"type": "TXT", "name": "x", "content": "y"});
            body[field] = value;
            read(body)
        };

        assert_eq!(with("ttl", json!(59)), Err(9021));
        assert_eq!(with("ttl", json!(86_401)), Err(9021));
        assert_eq!(with("ttl", json!(60)).map(|made| made.ttl), Ok(60));
        assert_eq!(with("ttl", json!("60")), Err(9207));
        assert_eq!(with("proxied", json!(true)), Err(9041));
        assert_eq!(with("comment", json!("c".repeat(101))), Err(9313));
        assert_eq!(
            with("comment", json!("c".repeat(100))).map(|made| made.comment.is_some()),
            Ok(true)
        );
    }

    #[test]
    fn a_proxied_record_has_the_automatic_ttl() {
        let made = read(
            json!({"type": "A", "name": "x", "content": "192.0.2.1", "proxied": true, "ttl": 300}),
        );
        assert_eq!(made.map(|made| made.ttl), Ok(AUTOMATIC));
    }

    #[test]
    fn uniqueness_distinguishes_81053_81054_and_81058() {
        let cname = record(
            "1",
            json!({"type": "CNAME", "name": "c", "content": "t.example.com"}),
        );
        let a = record(
            "2",
            json!({"type": "A", "name": "a", "content": "192.0.2.1"}),
        );
        let txt = record("3", json!({"type": "TXT", "name": "c", "content": "owner"}));
        let records = [cname, a, txt];
        let code = |own: Option<&str>, kind: &str, name: &str, content: &str| {
            let made = read(json!({"type": kind, "name": name, "content": content})).unwrap();
            unique(&made, own, &records).map_err(|refusal| refusal.code)
        };
        assert_eq!(code(None, "CNAME", "c", "t.example.com"), Err(81053));
        assert_eq!(code(None, "CNAME", "a", "t.example.com"), Err(81053));
        assert_eq!(code(None, "A", "c", "192.0.2.1"), Err(81054));
        assert_eq!(code(None, "A", "a", "192.0.2.1"), Err(81058));
        assert_eq!(code(None, "TXT", "c", "owner"), Err(81058));
        assert_eq!(code(None, "A", "a", "192.0.2.2"), Ok(()));
        assert_eq!(code(None, "TXT", "c", "another"), Ok(()));
        assert_eq!(code(Some("1"), "CNAME", "c", "u.example.com"), Ok(()));
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let body = json!({"type": "A", "name": "x", "content": "192.0.2.1", "comment": "mine"});
        let patch = json!({"content": "192.0.2.9"});
        let patched = read(body)
            .unwrap()
            .patched(patch.as_object().unwrap().clone(), ZONE)
            .unwrap();
        assert_eq!(patched.content, "192.0.2.9");
        assert_eq!(patched.comment.as_deref(), Some("mine"));
    }
}
