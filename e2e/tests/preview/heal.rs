//! What somebody takes away outside comes again, although nobody touched the Workspace.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::layout::text;
use lab::parts::cloudflare::ZONE;
use lab::process::fed;
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::stage::{Stage, reach};
use crate::user::{User, unique};

/// A preview behind a tunnel, and its owner at Cloudflare's dashboard.
struct Preview {
    user: User,
    name: String,
    host: String,
    url: String,
}

impl Preview {
    fn new() -> Result<Self> {
        let (user, name) = (User::of(TENANTS[0])?, unique("heal"));
        let (_uid, host) = reach(&user, &name, Stage::Ready)?;
        let url = user.field(&format!("workspace/{name}"), ".status.url")?;
        user.clicks(&url)?;
        Ok(Self {
            user,
            name,
            host,
            url,
        })
    }

    fn status(&self, path: &str) -> Result<String> {
        let object = format!("workspace/{}", self.name);
        self.user.field(&object, &format!(".status.{path}"))
    }

    fn dashboard(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let authority = text(self.user.cluster.layout.pki("ca.crt"));
        let url = format!("https://api.cloudflare.com/client/v4/{path}");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "10", "--noproxy", "*", "--cacert", &authority]);
        curl.args(["-X", method, "-H", "@-", "--json", &body.to_string(), &url]);

        let login = format!(
            "Authorization: Bearer {}",
            self.user.secrets.cloudflare_token
        );
        let answer: Value = serde_json::from_str(&fed(&mut curl, &login)?)?;
        ensure!(answer["success"] == true, "{method} {path}: {answer}");
        Ok(answer["result"].clone())
    }

    /// The record of the host: its path and what it says.
    fn record(&self) -> Result<(String, Value)> {
        let zone = self.dashboard("GET", &format!("zones?name={ZONE}"), &json!({}))?;
        let zone = zone[0]["id"].as_str().context("no zone")?.to_owned();
        let all = format!("zones/{zone}/dns_records");
        let found = self.dashboard("GET", &format!("{all}?name={}", self.host), &json!({}))?;
        let record = found[0].clone();
        let id = record["id"].as_str().context("no record")?;
        Ok((format!("{all}/{id}"), record))
    }

    /// Waits until something is there again, and the URL answers.
    fn comes_again(&self, what: &str, there: impl Fn() -> Result<bool>) -> Result<()> {
        until(&format!("{what} comes again"), PATIENCE, || {
            ensure!(there()?, "{}", self.status("conditions")?);
            self.user.clicks(&self.url).map(drop)
        })?;
        self.user.wait_ready(&self.name)
    }
}

#[test]
fn a_tunnel_a_connector_and_a_record_that_somebody_took_away_come_again() -> Result<()> {
    let preview = Preview::new()?;
    let tunnel = || preview.status("tunnel.id");

    let lost = tunnel()?;
    let account = &preview.user.secrets.cloudflare_account;
    let path = format!("accounts/{account}/cfd_tunnel/{lost}");
    until("the tunnel is deleted", PATIENCE, || {
        preview.dashboard("DELETE", &format!("{path}/connections"), &json!({}))?;
        preview.dashboard("DELETE", &path, &json!({})).map(drop)
    })?;
    preview.comes_again("the tunnel", || {
        let now = tunnel()?;
        Ok(!now.is_empty() && now != lost)
    })?;

    let namespace = preview.status("tunnel.connector.namespace")?;
    let connector = format!("deployment/{}", preview.status("tunnel.connector.name")?);
    let kubectl = |args: &[&str]| {
        let all = [&["-n", namespace.as_str()], args].concat();
        preview.user.cluster.kubectl(&all)
    };
    kubectl(&["scale", &connector, "--replicas=0"])?;
    preview.comes_again("the connector", || {
        let replicas = kubectl(&["get", &connector, "-o", "jsonpath={.spec.replicas}"])?;
        Ok(replicas != "0")
    })?;

    let (path, before) = preview.record()?;
    preview.dashboard("PATCH", &path, &json!({"content": "elsewhere.example"}))?;
    preview.comes_again("the record", || {
        Ok(preview.record()?.1["content"] == before["content"])
    })?;

    let (uid, host) = preview.user.marks(&preview.name)?;
    preview.user.delete(&preview.name)?;
    preview.user.wait_gone(&uid, &host)
}
