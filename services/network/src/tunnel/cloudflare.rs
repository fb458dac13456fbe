//! Tunnels at Cloudflare. The mark is the tunnel's name, which is unique in an account.

use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::cloudflare::{Cloudflare, DEADLINE, NAME, Problem};
use crate::error::Error;

/// A tunnel of this name is there already.
const TAKEN: u64 = 1013;
/// A connector is still connected.
const CONNECTED: u64 = 1022;

/// A tunnel as Cloudflare has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tunnel {
    pub id: String,
    name: String,
    #[serde(default)]
    connections: Vec<Connection>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Connection {}

impl Tunnel {
    /// Whether a connector is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// What records point to.
    #[must_use]
    pub fn hostname(&self) -> String {
        format!("{}.cfargotunnel.com", self.id)
    }
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    config: Value,
}

#[derive(Clone, Debug)]
pub struct Tunnels {
    api: Cloudflare,
    account: String,
    secret: String,
    quarantine: Duration,
}

impl Tunnels {
    /// Those of this account. `secret` is what messages call the Secret of the token, and
    /// `quarantine` is waited where the outcome of a call is unknown.
    #[must_use]
    pub fn new(api: Cloudflare, account: &str, secret: String, quarantine: Duration) -> Self {
        Self {
            api,
            account: account.into(),
            secret,
            quarantine,
        }
    }

    /// The tunnel of this name that lives.
    ///
    /// # Errors
    /// Cloudflare does not say.
    pub async fn find(&self, name: &str) -> Result<Option<Tunnel>, Error> {
        let query = [("name", name), ("is_deleted", "false")];
        let found: Vec<Tunnel> = self
            .api
            .get(&self.path(""), &query)
            .await
            .map_err(|problem| self.problem(problem))?;
        Ok(found.into_iter().find(|tunnel| tunnel.name == name))
    }

    /// A new tunnel of this name.
    ///
    /// # Errors
    /// Cloudflare refuses, does not show it yet, or has one of this name.
    pub async fn create(&self, name: &str) -> Result<Tunnel, Error> {
        let body = json!({"name": name, "config_src": "cloudflare"});
        let made = self
            .api
            .send::<IgnoredAny>(Method::POST, &self.path(""), &body)
            .await;

        made.map_err(|problem| {
            if problem.code() == Some(TAKEN) {
                Error::Changed
            } else {
                self.problem(problem)
            }
        })?;
        self.find(name).await?.ok_or(Error::Changed)
    }

    /// Whether a tunnel has this configuration.
    ///
    /// # Errors
    /// Cloudflare does not say.
    pub async fn is_configured(&self, tunnel: &Tunnel, config: &Value) -> Result<bool, Error> {
        let found: Configuration = self
            .api
            .get(&self.configuration(tunnel), &[])
            .await
            .map_err(|problem| self.problem(problem))?;
        Ok(super::configured(&found.config, config))
    }

    /// Sets a tunnel's configuration unless it is so; whether it was not.
    ///
    /// # Errors
    /// Cloudflare refuses.
    pub async fn configure(&self, tunnel: &Tunnel, config: &Value) -> Result<bool, Error> {
        if self.is_configured(tunnel, config).await? {
            return Ok(false);
        }

        let body = json!({ "config": config });
        let put = self
            .api
            .send::<IgnoredAny>(Method::PUT, &self.configuration(tunnel), &body)
            .await;
        put.map(|_| true).map_err(|problem| self.problem(problem))
    }

    /// What its connectors connect with.
    ///
    /// # Errors
    /// Cloudflare refuses.
    pub async fn token(&self, tunnel: &Tunnel) -> Result<SecretString, Error> {
        let token: String = self
            .api
            .get(&self.path(&format!("/{}/token", tunnel.id)), &[])
            .await
            .map_err(|problem| self.problem(problem))?;
        Ok(token.into())
    }

    /// Deletes the tunnel of this name. Returns what is still there.
    ///
    /// # Errors
    /// Cloudflare refuses.
    pub async fn delete(&self, name: &str) -> Result<Option<&'static str>, Error> {
        let Some(tunnel) = self.find(name).await? else {
            return Ok(None);
        };

        let path = self.path(&format!("/{}", tunnel.id));

        // Connections of a connector that is gone may stand for minutes.
        self.api
            .delete(&format!("{path}/connections"))
            .await
            .map_err(|problem| self.problem(problem))?;

        match self.api.delete(&path).await {
            Err(problem) if problem.code() == Some(CONNECTED) => {
                return Ok(Some("the tunnel's connections"));
            }
            deleted => deleted.map_err(|problem| self.problem(problem))?,
        }

        Ok(self.find(name).await?.map(|_| "the tunnel"))
    }

    fn configuration(&self, tunnel: &Tunnel) -> String {
        self.path(&format!("/{}/configurations", tunnel.id))
    }

    fn path(&self, rest: &str) -> String {
        format!("/accounts/{}/cfd_tunnel{rest}", self.account)
    }

    fn problem(&self, problem: Problem) -> Error {
        match problem {
            Problem::Refused { .. } if problem.is_forbidden() => Error::TunnelRefused(format!(
                "{problem}: the API token of Secret {} may not use account {}: check accountId and the token's permissions",
                self.secret, self.account
            )),
            Problem::Refused { .. } => Error::TunnelRefused(problem.to_string()),
            Problem::Limited(wait) => Error::Limited(NAME, wait),
            Problem::Away(why) => Error::Away(NAME, why),
            Problem::Unknown => Error::Unknown(NAME, DEADLINE.saturating_add(self.quarantine)),
        }
    }
}
