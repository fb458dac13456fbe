//! What is outside of the cluster: Cloudflare's stand-in, the connectors of tunnels, which are played,
//! and an application that answers every request, whatever component it is for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fake_cloudflare::{
    Connector, ConnectorSettings, Limit, RootCertStore, Running, Settings, serve,
};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(crate) const ZONE: &str = "yourdomain.com";
pub(crate) const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const SECOND_ACCOUNT: &str = "fedcba9876543210fedcba9876543210";

/// Two providers of the one zone.
pub(crate) const PROVIDERS: [&str; 2] = ["main", "other"];

pub(crate) struct Outside {
    cloud: Running,
    settings: Settings,
    client: reqwest::Client,
    /// Where ingress controllers would be.
    pub(crate) application: Ipv4Addr,
    /// By tunnel token.
    connectors: Mutex<HashMap<String, Connector>>,
}

impl Outside {
    /// On this address, and on one beside it. The certificate is put into the folder.
    pub(crate) async fn new(address: IpAddr, folder: &Path) -> Result<Self> {
        let IpAddr::V4(address) = address else {
            bail!("{address} is no IPv4 address")
        };
        let made = rcgen::generate_simple_self_signed([address.to_string(), format!("*.{ZONE}")])?;
        std::fs::write(folder.join("cloudflare.crt"), made.cert.pem())?;

        // Many previews at once call more often than one account may.
        let limit = Limit {
            requests: u32::MAX,
            window: Duration::from_secs(1),
        };
        let settings = Settings {
            account: ACCOUNT.into(),
            second_account: Some(SECOND_ACCOUNT.into()),
            zone: ZONE.into(),
            limit,
            ..Settings::on(address, made.cert.pem(), made.signing_key.serialize_pem())
        };
        let [a, b, c, d] = address.octets();
        let application = Ipv4Addr::new(a, b, c, d ^ 0x80);
        answer(TcpListener::bind((application, 80)).await?);

        Ok(Self {
            cloud: serve(settings.clone()).await?,
            settings,
            client: reqwest::Client::builder()
                .tls_danger_accept_invalid_certs(true)
                .build()?,
            application,
            connectors: Mutex::default(),
        })
    }

    pub(crate) fn token(&self) -> &str {
        &self.settings.token
    }

    pub(crate) fn api(&self) -> String {
        format!("https://{}/client/v4", self.cloud.addresses().api)
    }

    pub(crate) fn resolver(&self) -> SocketAddr {
        self.cloud.addresses().dns
    }

    /// Has connectors of just these tunnels, by their tokens.
    pub(crate) async fn connect(&self, tokens: Vec<String>) -> Result<()> {
        let missing: Vec<_> = {
            let mut connectors = self
                .connectors
                .lock()
                .map_err(|_poisoned| anyhow::anyhow!("poisoned"))?;
            connectors.retain(|token, _| tokens.contains(token));
            tokens
                .into_iter()
                .filter(|token| !connectors.contains_key(token))
                .collect()
        };

        for token in missing {
            let connector = self.connector(&token).await?;
            let mut connectors = self
                .connectors
                .lock()
                .map_err(|_poisoned| anyhow::anyhow!("poisoned"))?;
            connectors.insert(token, connector);
        }
        Ok(())
    }

    async fn connector(&self, token: &str) -> Result<Connector> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(
            self.settings.cert_pem.as_bytes(),
        )?)?;
        let settings = ConnectorSettings {
            edges: vec![self.cloud.addresses().tunnel.to_string()],
            roots,
            connections: 1,
            origin: Some((self.application, 80).into()),
            ..ConnectorSettings::new(token)
        };
        Ok(Connector::start(settings).await?)
    }

    /// The tunnels and records of a Workspace, by their names.
    pub(crate) async fn of(&self, uid: &str) -> Result<Vec<(String, Value)>> {
        let all = self.live().await?;
        let of_kind = |kind: &str, list: &str| -> Vec<(String, Value)> {
            let all = all[list].as_array().into_iter().flatten();
            let ours = all.filter(|found| found.to_string().contains(uid));
            let named = ours.map(|found| {
                let name = found["name"].as_str().unwrap_or_default();
                (
                    format!("{kind} {}", name.replace(uid, "UID")),
                    found.clone(),
                )
            });
            named.collect()
        };
        Ok([of_kind("tunnel", "tunnels"), of_kind("record", "records")].concat())
    }

    /// Somebody deletes its tunnel in the dashboard.
    pub(crate) async fn delete_tunnel(&self, uid: &str) -> Result<()> {
        for account in [ACCOUNT, SECOND_ACCOUNT] {
            let tunnels = format!("/accounts/{account}/cfd_tunnel");
            let all = self
                .call(Method::GET, &format!("{tunnels}?is_deleted=false"), None)
                .await?;
            let ours = all
                .as_array()
                .into_iter()
                .flatten()
                .filter(|found| found.to_string().contains(uid));
            for id in ours.filter_map(|found| found["id"].as_str()) {
                // It may have gone a moment ago.
                drop(
                    self.call(Method::DELETE, &format!("{tunnels}/{id}/connections"), None)
                        .await,
                );
                drop(
                    self.call(Method::DELETE, &format!("{tunnels}/{id}"), None)
                        .await,
                );
            }
        }
        Ok(())
    }

    /// Somebody deletes one of its records in the dashboard, or lets it point to somewhere else.
    pub(crate) async fn change_record(&self, uid: &str, which: usize) -> Result<()> {
        let all = self.live().await?;
        let records = all["records"].as_array().into_iter().flatten();
        let ours: Vec<_> = records
            .filter(|found| found.to_string().contains(uid))
            .collect();
        let Some(chosen) = ours.get(which % ours.len().max(1)) else {
            return Ok(());
        };

        let id = chosen["id"].as_str().context("no id")?;
        let path = format!("/zones/{}/dns_records/{id}", self.cloud.zone_id());
        // It may have gone a moment ago.
        drop(match chosen["type"].as_str() {
            Some("A") if which.is_multiple_of(2) => {
                self.call(
                    Method::PATCH,
                    &path,
                    Some(json!({"content": "203.0.113.9"})),
                )
                .await
            }
            Some("CNAME") if which.is_multiple_of(2) => {
                self.call(
                    Method::PATCH,
                    &path,
                    Some(json!({"content": "elsewhere.example"})),
                )
                .await
            }
            _ => self.call(Method::DELETE, &path, None).await,
        });
        Ok(())
    }

    async fn live(&self) -> Result<Value> {
        let url = format!("http://{}/live", self.cloud.addresses().admin);
        Ok(self
            .client
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self.client.request(method, format!("{}{path}", self.api()));
        let request = request.bearer_auth(self.token());
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["success"] == true, "{answer}");
        Ok(answer["result"].clone())
    }
}

/// Answers each request on these connections, and then hangs up.
fn answer(listener: TcpListener) {
    let served = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream
                .read(&mut request)
                .await
                .is_ok_and(|length| length > 0)
            {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    };
    tokio::spawn(served);
}
