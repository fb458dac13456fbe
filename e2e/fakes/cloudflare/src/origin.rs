//! One HTTP/1.1 request to a service, over a connection of its own, bodies streamed both ways.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Request, Response, Uri, Version,
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    body::{Body, streamed},
    tasks::Tasks,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("dial {0}")]
    Dial(String, #[source] std::io::Error),
    #[error("TLS with {0}")]
    Tls(String, #[source] std::io::Error),
    #[error("HTTP with {0}")]
    Http(String, #[source] hyper::Error),
    #[error("{0} is not a server name")]
    Name(String),
    #[error("the request cannot be passed on")]
    Request(#[source] hyper::http::Error),
}

/// Where a request goes and how.
pub(crate) struct Target<'a> {
    /// `http://host:port` or `https://host:port`.
    pub(crate) service: &'a Uri,
    /// Where it is, if not where its name says.
    pub(crate) address: Option<SocketAddr>,
    /// In place of the host the client asked for.
    pub(crate) host_header: Option<&'a str>,
    pub(crate) server_name: Option<&'a str>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) connect_timeout: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Sends the request and returns the head of the answer; `host` is what the client asked for.
pub(crate) async fn send(
    target: Target<'_>,
    host: &str,
    request: Request<Body>,
    tasks: &Tasks,
) -> Result<Response<Body>, Error> {
    let name = target.service.to_string();
    let stream = dial(&target, &name).await?;
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::Http(name.clone(), error))?;

    tasks.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a service broke");
        }
    });

    let request = outgoing(request, target.host_header.unwrap_or(host)).map_err(Error::Request)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| Error::Http(name, error))?;
    Ok(response.map(streamed))
}

async fn dial(target: &Target<'_>, name: &str) -> Result<Box<dyn Stream>, Error> {
    let secure = target.service.scheme_str() == Some("https");
    let host = target
        .service
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']']);
    let port = target
        .service
        .port_u16()
        .unwrap_or(if secure { 443 } else { 80 });
    let io = |error| Error::Dial(name.to_owned(), error);
    let connect = async {
        match target.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host, port)).await,
        }
    };
    let stream = tokio::time::timeout(target.connect_timeout, connect)
        .await
        .map_err(|elapsed| io(elapsed.into()))?
        .map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    if !secure {
        return Ok(Box::new(stream));
    }

    let server = target.server_name.unwrap_or(host).to_owned();
    let server = ServerName::try_from(server.clone()).map_err(|_invalid| Error::Name(server))?;
    let stream = TlsConnector::from(target.tls.clone())
        .connect(server, stream)
        .await
        .map_err(|error| Error::Tls(name.to_owned(), error))?;
    Ok(Box::new(stream))
}

/// The request as HTTP/1.1 wants it.
fn outgoing(request: Request<Body>, host: &str) -> Result<Request<Body>, hyper::http::Error> {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_11;
    parts.uri = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .parse()?;
    join_cookies(&mut parts.headers);
    parts
        .headers
        .insert(header::HOST, HeaderValue::from_str(host)?);
    Ok(Request::from_parts(parts, body))
}

/// HTTP/2 may split the cookies over several fields, HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Drops the fields that are about one connection only.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_connection_are_dropped() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("keep-alive, X-Mine"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        headers.insert("x-other", HeaderValue::from_static("1"));
        drop_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-other"]
        );
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        let joined: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(joined, ["a=1; b=2"]);
    }
}
