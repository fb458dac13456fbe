//! One started stand-in and the ways to ask it.
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use fake_cloudflare::{Connector, ConnectorSettings, RootCertStore, Running, Settings, serve};
use reqwest::{Certificate, Client, ClientBuilder, Method, StatusCode};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

pub(crate) const ZONE: &str = "yourdomain.com";
const DEADLINE: Duration = Duration::from_secs(10);

/// Repeats `ask` until it gives something, and fails loudly when it never does.
pub(crate) async fn wait<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask).await
}

pub(crate) async fn within<T>(
    deadline: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(deadline, asked)
        .await
        .unwrap_or_else(|_elapsed| panic!("never: {what}"))
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of its first error, 0 if there is none.
    pub(crate) fn code(&self) -> u64 {
        assert_eq!(
            self.body["success"],
            json!(self.body["errors"].as_array().unwrap().is_empty()),
            "{:?}",
            self.body
        );
        self.body["errors"][0]["code"].as_u64().unwrap_or(0)
    }

    pub(crate) fn result(&self) -> &Value {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        &self.body["result"]
    }

    pub(crate) fn id(&self) -> String {
        self.result()["id"].as_str().unwrap().to_owned()
    }

    /// One field of every object of a list.
    pub(crate) fn each(&self, field: &str) -> Vec<String> {
        self.result()
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[field].as_str().unwrap().to_owned())
            .collect()
    }
}

pub(crate) struct World {
    pub(crate) cloud: Running,
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    roots: RootCertStore,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_settings| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        // Another test may have installed it before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let names = [
            "127.0.0.1",
            "localhost",
            "yourdomain.com",
            "*.yourdomain.com",
        ]
        .map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let mut settings = Settings::local(made.cert.pem(), made.signing_key.serialize_pem());
        change(&mut settings);
        Self::serving(settings).await
    }

    async fn serving(settings: Settings) -> Self {
        let cloud = serve(settings.clone()).await.unwrap();
        let client = builder(&settings).build().unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(settings.cert_pem.as_bytes()).unwrap())
            .unwrap();

        Self {
            cloud,
            settings,
            client,
            roots,
        }
    }

    /// Stops the stand-in and starts it again on the same ports.
    pub(crate) async fn restarted(self) -> Self {
        let at = self.cloud.addresses();
        let settings = Settings {
            api: at.api,
            tunnel: at.tunnel,
            ..self.settings
        };

        self.cloud.stop().await;
        Self::serving(settings).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!(
            "https://127.0.0.1:{}/client/v4{path}",
            self.cloud.addresses().api.port()
        )
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.cloud.addresses().admin)
    }

    pub(crate) async fn try_api(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self
            .client
            .request(method, self.url(path))
            .bearer_auth(&self.settings.token);

        if let Some(body) = body {
            request = request.json(&body);
        }

        let response = request.send().await?;
        Ok(Answer {
            status: response.status(),
            body: response.json().await?,
        })
    }

    pub(crate) async fn api(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        self.try_api(method, path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.api(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.api(Method::DELETE, path, Value::Null).await
    }

    pub(crate) async fn set_faults(&self, faults: Value) {
        let put = self
            .client
            .put(self.admin("/faults"))
            .json(&faults)
            .send()
            .await
            .unwrap();
        assert_eq!(put.status(), StatusCode::NO_CONTENT);
    }

    pub(crate) async fn counters(&self) -> Value {
        self.client
            .get(self.admin("/counters"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    pub(crate) fn tunnels(&self) -> String {
        format!("/accounts/{}/cfd_tunnel", self.settings.account)
    }

    pub(crate) fn tunnel(&self, id: &str) -> String {
        format!("{}/{id}", self.tunnels())
    }

    pub(crate) fn records(&self) -> String {
        format!("/zones/{}/dns_records", self.cloud.zone_id())
    }

    pub(crate) async fn create_tunnel(&self, name: &str) -> String {
        let body = json!({"name": name, "config_src": "cloudflare"});
        self.api(Method::POST, &self.tunnels(), body).await.id()
    }

    /// Creates a record; `more` is laid over a proxied one with the automatic TTL.
    pub(crate) async fn create_record(
        &self,
        kind: &str,
        name: &str,
        content: &str,
        more: Value,
    ) -> Answer {
        let mut body = json!({"type": kind, "name": name, "content": content});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.api(Method::POST, &self.records(), body).await
    }

    /// Points a name at a tunnel.
    pub(crate) async fn expose(&self, name: &str, tunnel: &str) {
        let target = format!("{tunnel}.cfargotunnel.com");
        self.create_record("CNAME", name, &target, json!({"proxied": true}))
            .await
            .result();
    }

    pub(crate) async fn configure(&self, tunnel: &str, ingress: Value) -> Answer {
        let path = format!("{}/configurations", self.tunnel(tunnel));
        self.api(Method::PUT, &path, json!({"config": {"ingress": ingress}}))
            .await
    }

    pub(crate) async fn connector_settings(&self, tunnel: &str) -> ConnectorSettings {
        let token = self.get(&format!("{}/token", self.tunnel(tunnel))).await;
        let mut settings = ConnectorSettings::new(token.result().as_str().unwrap());
        settings.edges = vec![format!(
            "127.0.0.1:{}",
            self.cloud.addresses().tunnel.port()
        )];
        settings.roots = self.roots.clone();
        settings.backoff = Duration::from_millis(20);
        settings
    }

    /// A connector with all its connections registered.
    pub(crate) async fn connect(&self, tunnel: &str) -> Connector {
        let settings = self.connector_settings(tunnel).await;
        let all = settings.connections;
        let connector = Connector::start(settings).await.unwrap();

        wait("the connector is ready", async || {
            (self.ready(&connector).await.1 == all).then_some(())
        })
        .await;
        connector
    }

    /// The status of `/ready` and the number of connections it names.
    pub(crate) async fn ready(&self, connector: &Connector) -> (StatusCode, usize) {
        let url = format!("http://{}/ready", connector.metrics());
        let response = self.client.get(url).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["status"], status.as_u16());
        assert!(
            body["connectorId"]
                .as_str()
                .unwrap()
                .parse::<uuid::Uuid>()
                .is_ok()
        );

        (
            status,
            usize::try_from(body["readyConnections"].as_u64().unwrap()).unwrap(),
        )
    }

    /// A client that finds `host` at the edge, and the URL to ask it.
    pub(crate) fn at_edge(&self, scheme: &str, host: &str, path: &str) -> (Client, String) {
        let at = self.cloud.addresses();
        let address = if scheme == "https" {
            at.edge_https
        } else {
            at.edge_http
        };

        let client = builder(&self.settings)
            .resolve(host, address)
            .build()
            .unwrap();

        (
            client,
            format!("{scheme}://{host}:{}{path}", address.port()),
        )
    }

    /// Asks a host at the edge over plain HTTP.
    pub(crate) async fn visit(&self, host: &str, path: &str) -> (u16, String) {
        let (client, url) = self.at_edge("http", host, path);
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.headers()["server"], "cloudflare");
        assert!(response.headers().contains_key("cf-ray"));
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// A client that trusts the stand-in and nobody else.
pub(crate) fn builder(settings: &Settings) -> ClientBuilder {
    let certificate = Certificate::from_pem(settings.cert_pem.as_bytes()).unwrap();
    Client::builder().tls_certs_only([certificate]).no_proxy()
}

/// A file that is gone when dropped, with its folder.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("fake-cloudflare-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Serves an application on a free port until the test ends.
pub(crate) async fn application(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}
