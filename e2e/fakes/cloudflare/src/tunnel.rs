//! A tunnel as the API stores it, and the token its connectors carry.
use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock;

/// The connections a connector opens when all is well.
const FULL: usize = 4;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tunnel {
    pub(crate) id: Uuid,
    /// The first account's if none is named.
    #[serde(default)]
    pub(crate) account: Option<String>,
    pub(crate) name: String,
    /// Base64, at least 32 bytes.
    pub(crate) secret: String,
    pub(crate) config_src: String,
    pub(crate) created_at: Timestamp,
    pub(crate) deleted_at: Option<Timestamp>,
    pub(crate) conns_active_at: Option<Timestamp>,
    pub(crate) conns_inactive_at: Option<Timestamp>,
    /// Counts the PUTs of the configuration; 0 before the first.
    pub(crate) version: u64,
    pub(crate) config: Value,
}

/// The content of a tunnel token.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Token {
    #[serde(rename = "a")]
    pub(crate) account: String,
    #[serde(rename = "t")]
    pub(crate) tunnel: Uuid,
    #[serde(rename = "s")]
    pub(crate) secret: String,
}

impl Token {
    pub(crate) fn encode(&self) -> String {
        BASE64.encode(json!(self).to_string().as_bytes())
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&BASE64.decode(text.trim().as_bytes()).ok()?).ok()
    }
}

impl Tunnel {
    pub(crate) fn new(name: String, config_src: String, secret: Option<String>) -> Self {
        let random = || [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        Self {
            id: Uuid::new_v4(),
            account: None,
            name,
            secret: secret.unwrap_or_else(|| BASE64.encode(&random())),
            config_src,
            created_at: clock::now(),
            deleted_at: None,
            conns_active_at: None,
            conns_inactive_at: None,
            version: 0,
            config: Value::Null,
        }
    }

    pub(crate) fn token(&self, first: &str) -> String {
        Token {
            account: self.account(first).to_owned(),
            tunnel: self.id,
            secret: self.secret.clone(),
        }
        .encode()
    }

    /// Whose it is, where this is the first account.
    pub(crate) fn account<'a>(&'a self, first: &'a str) -> &'a str {
        self.account.as_deref().unwrap_or(first)
    }

    pub(crate) fn live(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// The documented status, from the number of open connections.
    pub(crate) fn status(&self, connections: usize) -> &'static str {
        match connections {
            0 if self.conns_active_at.is_none() && self.conns_inactive_at.is_none() => "inactive",
            0 => "down",
            1..FULL => "degraded",
            _ => "healthy",
        }
    }
}

/// Whether a secret given by the caller is one the API takes.
pub(crate) fn is_secret(secret: &str) -> bool {
    BASE64
        .decode(secret.as_bytes())
        .is_ok_and(|bytes| bytes.len() >= 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_as_it_was_written() {
        let tunnel = Tunnel::new("pr-1".into(), "cloudflare".into(), None);
        let read = Token::decode(&format!("{}\n", tunnel.token("abc"))).unwrap();

        assert_eq!(
            (read.account.as_str(), read.tunnel, &read.secret),
            ("abc", tunnel.id, &tunnel.secret)
        );
        assert!(is_secret(&read.secret));
        assert!(Token::decode("not a token").is_none());
    }

    #[test]
    fn status_follows_the_connections() {
        let mut tunnel = Tunnel::new("pr-1".into(), "cloudflare".into(), None);
        assert_eq!(tunnel.status(0), "inactive");
        assert_eq!(tunnel.status(1), "degraded");
        assert_eq!(tunnel.status(4), "healthy");
        tunnel.conns_active_at = Some(clock::now());
        assert_eq!(tunnel.status(0), "down");
    }
}
