//! A request from the edge, on to the service its rule names.
use std::{sync::atomic::Ordering, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    ext::Protocol,
    header::{self, HeaderValue},
};

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Shared;
use crate::{
    body::{Body, empty, full, streamed},
    ingress::Service,
    link::{META, META_CLOUDFLARED},
    origin::{self, Target, drop_hop_by_hop},
    upgrade,
};

const UNREACHABLE: &str = "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared";

pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let host = request.uri().host().unwrap_or_default().to_owned();
    let rules = shared.rules();
    let Some(rule) = rules.find(&host, request.uri().path()) else {
        tracing::warn!(
            host,
            "No ingress rules were defined, cloudflared returns 503"
        );
        return status(StatusCode::SERVICE_UNAVAILABLE);
    };

    let uri = match &rule.service {
        Service::Status(code) => return status(*code),
        Service::Http(uri) => uri,
        Service::Stream(address) => {
            let timeout = rule.origin.connect_timeout();
            return match carry(shared, address, timeout, request).await {
                Ok(response) => response,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, originService = %address, "{UNREACHABLE}");
                    unreached(shared)
                }
            };
        }
        Service::Other(service) => {
            tracing::error!(service, "a service of this kind is not spoken to");
            return unreached(shared);
        }
    };

    let target = Target {
        service: uri,
        address: shared.origin,
        host_header: rule.origin.host_header(),
        server_name: rule.origin.server_name(),
        tls: if rule.origin.verifies() {
            shared.verified.clone()
        } else {
            shared.unverified.clone()
        },
        connect_timeout: rule.origin.connect_timeout(),
    };

    match pass(shared, target, &host, request).await {
        Ok(response) => response,
        Err(error) => {
            let error = chain(&error);
            tracing::error!(error, originService = %uri, "{UNREACHABLE}");
            unreached(shared)
        }
    }
}

async fn pass(
    shared: &Shared,
    target: Target<'_>,
    host: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, origin::Error> {
    let socket = (request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().is_some())
    .then(|| hyper::upgrade::on(&mut request));
    let mut outgoing = request.map(streamed);
    drop_hop_by_hop(outgoing.headers_mut());
    if socket.is_some() {
        *outgoing.method_mut() = Method::GET;
        *outgoing.body_mut() = empty();
        upgrade::mark(outgoing.headers_mut());
    }

    let mut response = origin::send(target, host, outgoing, &shared.tasks).await?;

    if let Some(edge) = socket
        && response.status() == StatusCode::SWITCHING_PROTOCOLS
        && upgrade::is_websocket(response.headers())
    {
        upgrade::join(&shared.tasks, edge, hyper::upgrade::on(&mut response));
        response = response.map(|_body| empty());
        *response.status_mut() = StatusCode::OK;
    }

    drop_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// Makes a connection, and carries it over the WebSocket that was asked for.
async fn carry(
    shared: &Shared,
    address: &str,
    timeout: Duration,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, origin::Error> {
    let dial = |error| origin::Error::Dial(address.to_owned(), error);
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|elapsed| dial(elapsed.into()))?
        .map_err(dial)?;

    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    if request.extensions().get::<Protocol>().is_none() {
        return Ok(status(StatusCode::BAD_REQUEST));
    }

    upgrade::carry(&shared.tasks, hyper::upgrade::on(&mut request), stream);
    let mut response = Response::new(empty());
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    if let Some(accept) = accept.and_then(|accept| accept.parse().ok()) {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(META, HeaderValue::from_static(META_CLOUDFLARED));
    response
}

fn unreached(shared: &Shared) -> Response<Body> {
    shared.errors.fetch_add(1, Ordering::Relaxed);
    let mut response =
        status(StatusCode::BAD_GATEWAY).map(|_empty| full("Unable to reach the origin service."));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
