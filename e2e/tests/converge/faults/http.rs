//! Stands between a service and an HTTP API, Kubernetes' or Cloudflare's: passes everything on, and
//! breaks what is to break.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};

use super::breaker::{Asked, Breaker};
use super::listen;
use super::plan::{Act, Fault, Port, When};
use crate::programs::Service;

/// Longer than anybody waits for an answer.
const FOREVER: Duration = Duration::from_secs(60);

type Error = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

/// What stands behind it.
#[derive(Clone)]
pub(crate) enum Api {
    Kubernetes(Client),
    /// At this URL.
    Cloudflare(reqwest::Client, String),
}

pub(crate) struct Door {
    pub(crate) service: Service,
    pub(crate) api: Api,
    pub(crate) breaker: Arc<Breaker>,
}

impl Door {
    /// Stands at this address.
    pub(crate) async fn open(self, address: SocketAddr) -> Result<()> {
        let door = Arc::new(self);
        listen(address, move |stream| {
            let door = door.clone();
            let service = service_fn(move |request| {
                let door = door.clone();
                async move { door.pass(request).await }
            });
            http1::Builder::new().serve_connection(TokioIo::new(stream), service)
        })
        .await
    }

    /// An error breaks the connection.
    async fn pass(&self, request: Request<Incoming>) -> Result<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let asked = self.asked(&parts, &body);
        let Some((life, breaks)) = asked else {
            return self.forward(parts, body).await;
        };

        match breaks {
            None => self.learn(life, self.forward(parts, body).await?).await,
            Some((When::Before, fault)) => {
                if let Some(answer) = self.breaks(life, fault, &parts).await? {
                    return Ok(answer);
                }
                self.learn(life, self.forward(parts, body).await?).await
            }
            Some((When::After, fault)) => {
                let done = self.forward(parts.clone(), body).await?;
                let done = self.learn(life, done).await?;
                Ok(self.breaks(life, fault, &parts).await?.unwrap_or(done))
            }
        }
    }

    /// Whose act it is, if it is one: reads are none.
    fn asked(&self, parts: &Parts, body: &[u8]) -> Option<(usize, Option<(When, Fault)>)> {
        if matches!(parts.method, Method::GET | Method::HEAD) {
            return None;
        }
        let path = parts.uri.path();
        let (port, named) = match self.api {
            Api::Kubernetes(_) => (Port::Kubernetes, kubernetes(path)),
            Api::Cloudflare(..) => (Port::Cloudflare, cloudflare(path)),
        };
        let act = Act {
            service: self.service,
            port,
            what: format!("{} {named}", parts.method),
        };
        self.breaker.asked(Asked {
            act,
            path: object(path),
            is_named: parts.method != Method::POST,
            body,
        })
    }

    /// The answer in place of the real one; nothing if it goes on.
    async fn breaks(&self, life: usize, fault: Fault, parts: &Parts) -> Result<Option<Answer>> {
        match fault {
            Fault::Kill => {
                self.breaker.kill(self.service).await?;
                bail!("killed")
            }
            Fault::Cut => bail!("cut"),
            Fault::Hang => {
                tokio::time::sleep(FOREVER).await;
                bail!("nobody waits any more")
            }
            Fault::Status(status) => return Ok(Some(self.refusal(status)?)),
            Fault::Deleted => self.by_hand(Method::DELETE, parts, Vec::new()).await?,
            Fault::Edited => {
                let edited = json!({"metadata": {"annotations": {"example.com/edited": "yes"}}});
                let edited = serde_json::to_vec(&edited)?;
                self.by_hand(Method::PATCH, parts, edited).await?;
            }
            Fault::Ended => self.breaker.end(life).await?,
            Fault::EndedAndKill => {
                self.breaker.end(life).await?;
                self.breaker.kill(self.service).await?;
                bail!("killed")
            }
            Fault::Late | Fault::Twice | Fault::Wipe => bail!("{fault:?} of a request"),
        }
        Ok(None)
    }

    async fn by_hand(&self, method: Method, parts: &Parts, body: Vec<u8>) -> Result<()> {
        let request = Request::builder()
            .method(method)
            .uri(object(parts.uri.path()))
            .header("content-type", "application/merge-patch+json")
            .body(body)?;
        match self.breaker.person()?.request::<Value>(request).await {
            // It may not be there yet, or not any more.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    fn refusal(&self, status: u16) -> Result<Answer> {
        let words = "broken by a plan";
        let body = match self.api {
            Api::Kubernetes(_) => json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                "message": words, "reason": if status == 409 { "Conflict" } else { "" },
            }),
            Api::Cloudflare(..) => json!({
                "success": false, "errors": [{"code": 10_000, "message": words}], "result": null,
            }),
        };
        let answer = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        let answer = match status {
            429 => answer.header("retry-after", "1"),
            _ => answer,
        };
        Ok(answer.body(full(serde_json::to_vec(&body)?.into()))?)
    }

    async fn forward(&self, mut parts: Parts, body: Bytes) -> Result<Answer> {
        match &self.api {
            Api::Kubernetes(client) => {
                parts.headers.remove(HOST);
                let request = Request::from_parts(parts, kube::client::Body::from(body));
                let answer = client.send(request).await?;
                Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
            }
            Api::Cloudflare(client, url) => {
                let path = parts.uri.path_and_query().context("no path")?;
                let (_, host) = url.split_once("//").context("no host")?;
                let (host, _) = host.split_once('/').context("no path")?;
                let mut headers = parts.headers;
                headers.remove(HOST);
                let request = client
                    .request(parts.method, format!("https://{host}{path}"))
                    .headers(headers)
                    .body(body);
                let mut answer = Response::from(request.send().await?);
                // It is framed anew.
                answer.headers_mut().remove(TRANSFER_ENCODING);
                answer.headers_mut().remove(CONTENT_LENGTH);
                Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
            }
        }
    }

    /// Learns from an answer what else is about the life.
    async fn learn(&self, life: usize, answer: Answer) -> Result<Answer> {
        let (mut parts, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))?;
        let body = body.to_bytes();
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();

        // A uid is in the names and labels of what is made, and in subjects.
        let workspace = (said["kind"] == "Workspace").then_some(&said["metadata"]["uid"]);
        for mark in workspace.into_iter().chain([&said["result"]["id"]]) {
            if let Some(mark) = mark.as_str() {
                self.breaker.mark(life, mark);
            }
        }
        parts.headers.remove(TRANSFER_ENCODING);
        Ok(Response::from_parts(parts, full(body)))
    }
}

fn full(body: Bytes) -> UnsyncBoxBody<Bytes, Error> {
    let never = |never: Infallible| match never {};
    Full::new(body).map_err(never).boxed_unsync()
}

/// Without the subresource.
fn object(path: &str) -> &str {
    path.trim_end_matches("/status")
}

/// Resource and subresource: `components/status`.
fn kubernetes(path: &str) -> String {
    let mut segments = path.trim_start_matches('/').split('/');
    // `api/v1` or `apis/group/version`.
    let versions = if path.starts_with("/api/") { 2 } else { 3 };
    let mut segments = segments.by_ref().skip(versions).peekable();
    if segments.next_if_eq(&"namespaces").is_some() {
        segments.next();
    }
    let resource = segments.next().unwrap_or_default();
    match segments.nth(1) {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    }
}

/// Without ids: `zones/dns_records`.
fn cloudflare(path: &str) -> String {
    let segments = path.trim_start_matches("/client/v4/").split('/');
    let words: Vec<_> = segments
        .filter(|segment| !segment.contains(|found: char| found.is_ascii_digit()))
        .collect();
    words.join("/")
}
