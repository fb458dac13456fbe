//! Cloudflare's stand-in on a test's own address, and what the test tells and asks it.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use fake_cloudflare::{Running, Settings, serve};
use lab::alone::Alone;
use serde_json::{Value, json};

use super::{Harness, SECOND_ACCOUNT, ZONE};

impl Harness {
    /// What the stand-in counted of an object: `records` or `tunnels`, and `creates`, `updates` or
    /// `deletes`.
    pub(crate) async fn counted(&self, what: &str, event: &str, name: &str) -> Result<u64> {
        Ok(self.admin("counters").await?[what][event][name]
            .as_u64()
            .unwrap_or(0))
    }

    pub(crate) async fn admin(&self, page: &str) -> Result<Value> {
        let url = format!("http://{}/{page}", self.cloud.addresses().admin);
        Ok(reqwest::get(url).await?.error_for_status()?.json().await?)
    }

    /// What strikes the calls from now on.
    pub(crate) async fn faults(&self, faults: Value) -> Result<()> {
        self.tell("faults", faults).await
    }

    pub(crate) async fn tell(&self, page: &str, body: Value) -> Result<()> {
        let url = format!("http://{}/{page}", self.cloud.addresses().admin);
        let answer = reqwest::Client::new().put(url).json(&body).send().await?;
        ensure!(answer.status().is_success(), "{page}: {}", answer.status());
        Ok(())
    }

    /// A call of the test's own to the stand-in's API.
    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let url = format!("https://{}/client/v4{path}", self.cloud.addresses().api);
        let answer = client
            .request(method, url)
            .bearer_auth(&self.settings.token)
            .json(body)
            .send()
            .await?;
        let answer: Value = answer.json().await?;
        ensure!(answer["success"] == json!(true), "{answer}");
        Ok(answer["result"].clone())
    }
}

/// A Cloudflare on this test's own address, with the real ports of DNS and the edge.
pub(super) async fn stand_in(alone: &Alone) -> Result<(Running, Settings)> {
    let names = [alone.address.to_string(), format!("*.{ZONE}"), ZONE.into()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(alone.folder().join("cloudflare.crt"), &certificate)?;
    let IpAddr::V4(address) = alone.address else {
        anyhow::bail!("no IPv4 address")
    };

    let settings = Settings {
        second_account: Some(SECOND_ACCOUNT.into()),
        ..Settings::on(address, certificate, key)
    };

    Ok((serve(settings.clone()).await?, settings))
}
