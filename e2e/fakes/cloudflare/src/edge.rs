//! The edge: serves the hosts that have a proxied record, through their tunnel.
mod route;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    client::conn::http2::SendRequest,
    ext::Protocol,
    header::{self, HeaderName, HeaderValue},
    http::uri::{Authority, PathAndQuery, Scheme},
    service::service_fn,
    upgrade::OnUpgrade,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use self::route::{Route, route};
use crate::{
    body::{Body, BoxError, empty, full, streamed},
    cloud::Cloud,
    link::{META, META_CLOUDFLARED},
    listen,
    origin::{self, Target, drop_hop_by_hop},
    tasks::Tasks,
    tls, upgrade,
};

const RAY: HeaderName = HeaderName::from_static("cf-ray");

/// What the edge needs beside the request.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) tasks: Tasks,
    /// To origins that are no tunnel; Cloudflare's mode "Full" does not verify them.
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

/// Errors the edge answers with by itself.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// 1016: nothing behind the host can be resolved.
    Origin,
    /// 1033: the tunnel has no connection.
    Tunnel,
    /// 502: the connector did not reach the service.
    BadGateway,
    /// 521: the origin refuses connections.
    Down,
}

impl Fault {
    fn parts(self) -> (u16, u16) {
        match self {
            Self::Origin => (530, 1016),
            Self::Tunnel => (530, 1033),
            Self::BadGateway => (502, 502),
            Self::Down => (521, 521),
        }
    }
}

/// Who asks, and over what.
#[derive(Clone, Copy)]
struct Client {
    address: SocketAddr,
    secure: bool,
}

pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, edge: Edge) {
    let (tasks, secure) = (edge.tasks.clone(), tls.is_some());
    listen::http(listener, tls, tasks, |address| {
        let (edge, client) = (edge.clone(), Client { address, secure });
        service_fn(move |request| {
            let edge = edge.clone();
            async move { Ok::<_, BoxError>(edge.answer(client, request).await) }
        })
    })
    .await;
}

impl Edge {
    async fn answer(&self, client: Client, request: Request<Incoming>) -> Response<Body> {
        let ray = Uuid::new_v4().simple().to_string();
        let ray = format!("{}-TST", ray.get(..16).unwrap_or_default());
        let host = host(&request).unwrap_or_default();
        let found = self
            .cloud
            .store
            .read(|data| route(&host, &self.cloud.zone.name, data));
        tracing::debug!(host, ?found, "a request at the edge");

        let answered = match found {
            Route::Nowhere => Err(Fault::Origin),
            Route::Tunnel(id) => match self.cloud.links.pick(id) {
                links if links.is_empty() => Err(Fault::Tunnel),
                links => self.through(links, client, &ray, &host, request).await,
            },
            Route::Origin(target) => self.origin(&target, client, &ray, &host, request).await,
        };

        let mut response = answered.unwrap_or_else(page);
        let headers = response.headers_mut();
        headers.insert(header::SERVER, HeaderValue::from_static("cloudflare"));
        headers.insert("cf-cache-status", HeaderValue::from_static("DYNAMIC"));
        if let Ok(ray) = HeaderValue::from_str(&ray) {
            headers.insert(RAY, ray);
        }

        response
    }

    /// Sends the request over the first link that takes it.
    async fn through(
        &self,
        links: Vec<SendRequest<Body>>,
        client: Client,
        ray: &str,
        host: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Fault> {
        let socket =
            upgrade::is_websocket(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let mut outgoing = request.map(streamed);
        adapt(&mut outgoing, client, ray);
        *outgoing.uri_mut() = absolute(outgoing.uri(), client, host).ok_or(Fault::Origin)?;
        *outgoing.version_mut() = Version::HTTP_2;
        if socket.is_some() {
            *outgoing.method_mut() = Method::CONNECT;
            *outgoing.body_mut() = empty();
            outgoing
                .extensions_mut()
                .insert(Protocol::from_static("websocket"));
        }

        for mut link in links {
            if link.ready().await.is_err() {
                continue;
            }
            match link.try_send_request(outgoing).await {
                Ok(response) => return self.back(response, socket),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => outgoing = unsent,
                    None => {
                        tracing::debug!(error = %error.error(), "a link broke under a request");
                        return Err(Fault::BadGateway);
                    }
                },
            }
        }

        Err(Fault::Tunnel)
    }

    /// The connector's answer, as the client may see it.
    fn back(
        &self,
        mut response: Response<Incoming>,
        socket: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Fault> {
        let own = response
            .headers_mut()
            .remove(META)
            .is_some_and(|meta| meta == META_CLOUDFLARED);
        if own && response.status() == StatusCode::BAD_GATEWAY {
            return Err(Fault::BadGateway);
        }

        let Some(client) = socket.filter(|_| response.status() == StatusCode::OK) else {
            return Ok(response.map(streamed));
        };

        upgrade::join(&self.tasks, client, hyper::upgrade::on(&mut response));
        let mut response = response.map(|_body| empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        upgrade::mark(response.headers_mut());
        Ok(response)
    }

    /// A proxied record that is no tunnel: the edge asks the address itself.
    async fn origin(
        &self,
        target: &str,
        client: Client,
        ray: &str,
        host: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Fault> {
        let scheme = if client.secure {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(target)
            .path_and_query("/")
            .build();
        let service = uri.map_err(|_invalid| Fault::Origin)?;
        let mut outgoing = request.map(streamed);
        adapt(&mut outgoing, client, ray);
        let target = Target {
            service: &service,
            address: None,
            host_header: None,
            server_name: Some(host),
            tls: self.tls.clone(),
            connect_timeout: Duration::from_secs(15),
        };
        let mut response = origin::send(target, host, outgoing, &self.tasks)
            .await
            .map_err(|error| {
                tracing::debug!(%error, "an origin does not answer");
                Fault::Down
            })?;
        drop_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

impl Edge {
    pub(crate) fn new(cloud: Arc<Cloud>, tasks: Tasks) -> Result<Self, rustls::Error> {
        Ok(Self {
            cloud,
            tasks,
            tls: tls::unverified_client()?,
        })
    }
}

/// The host a request is for, in lower case and without its port.
fn host(request: &Request<Incoming>) -> Option<String> {
    let named = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => named?.parse::<Authority>().ok()?,
    };

    Some(authority.host().trim_end_matches('.').to_ascii_lowercase())
}

fn absolute(uri: &Uri, client: Client, host: &str) -> Option<Uri> {
    let scheme = if client.secure {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };

    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));

    Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(path)
        .build()
        .ok()
}

/// Adds what Cloudflare tells an origin of the client, and drops what only it may say.
fn adapt(request: &mut Request<Body>, client: Client, ray: &str) {
    let scheme = if client.secure { "https" } else { "http" };
    let address = client.address.ip().to_canonical().to_string();
    let headers = request.headers_mut();
    drop_hop_by_hop(headers);
    headers.remove(header::HOST);
    headers.remove(META);
    let forwarded = match headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
    {
        Some(before) => format!("{before},{address}"),
        None => address.clone(),
    };
    for (name, value) in [
        ("cf-connecting-ip", address),
        ("x-forwarded-for", forwarded),
        ("x-forwarded-proto", scheme.to_owned()),
        ("cf-visitor", format!(r#"{{"scheme":"{scheme}"}}"#)),
        ("cf-ray", ray.to_owned()),
        ("cf-ipcountry", "XX".to_owned()),
        ("cdn-loop", "cloudflare; loops=1".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

fn page(fault: Fault) -> Response<Body> {
    let (status, code) = fault.parts();
    let mut response = Response::new(full(format!("error code: {code}")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(
            "private, max-age=0, no-store, no-cache, must-revalidate, post-check=0, pre-check=0",
        ),
    );
    response
}
