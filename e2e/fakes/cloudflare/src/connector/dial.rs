//! One connection to the edge, over and over.
use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use uuid::Uuid;

use super::{ConnectorSettings, Shared, proxy};
use crate::{
    body::{Body, BoxError, empty},
    link::{CONFIGURATION, CONTROL, Configuration, Hello, REGISTERED, Reply, receive, send},
};

/// How long dialing the edge may take, and its silence before it counts as gone.
const DIAL: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Pauses double this often.
const DOUBLINGS: u32 = 6;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("DialContext error: {0}")]
    Dial(#[source] io::Error),
    #[error("TLS handshake with edge error: {0}")]
    Tls(#[source] io::Error),
    #[error("{0} is not HOST:PORT")]
    Edge(String),
    #[error("edge does not answer: {0}")]
    Silent(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("connection with edge closed")]
    Closed,
}

/// Holds one connection until the connector leaves.
pub(super) async fn keep(shared: Arc<Shared>, index: usize) {
    let mut failures = 0;
    loop {
        let registered = CancellationToken::new();
        let ended = shared
            .leaving
            .run_until_cancelled(reach(&shared, index))
            .await;
        let error = match ended {
            None => return,
            Some(Err(error)) => error,
            Some(Ok((stream, connection))) => {
                hold(&shared, index, stream, connection, &registered).await;
                Error::Closed
            }
        };

        if shared.leaving.is_cancelled() {
            return;
        }

        match &error {
            Error::Refused(error) => {
                tracing::error!(
                    error,
                    connIndex = index,
                    "Register tunnel error from server side"
                )
            }
            error => {
                tracing::error!(%error, connIndex = index, "Unable to establish connection with Cloudflare edge")
            }
        }

        shared.failures.fetch_add(1, Ordering::Relaxed);
        failures = if registered.is_cancelled() {
            0
        } else {
            failures + 1
        };

        let most = shared.backoff * 2_u32.pow(failures.min(DOUBLINGS));
        tracing::info!(
            connIndex = index,
            "Retrying connection in up to {}s",
            most.as_secs()
        );

        let pause = most.mul_f64(random());

        if shared
            .leaving
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// A number between 0 and 1.
fn random() -> f64 {
    let (bits, ..) = Uuid::new_v4().as_fields();
    f64::from(bits) / f64::from(u32::MAX)
}

type EdgeStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Dials the edge and says who we are.
async fn reach(shared: &Shared, index: usize) -> Result<(EdgeStream, Uuid), Error> {
    let turn = index % shared.edges.len().max(1);
    let edge = shared
        .edges
        .get(turn)
        .ok_or_else(|| Error::Edge("nothing".into()))?;
    let host = edge
        .rsplit_once(':')
        .map(|(host, _port)| host)
        .ok_or_else(|| Error::Edge(edge.clone()))?;
    let server =
        ServerName::try_from(host.to_owned()).map_err(|_invalid| Error::Edge(edge.clone()))?;
    let silent = |error: tokio::time::error::Elapsed| io::Error::from(error);
    let stream = tokio::time::timeout(DIAL, TcpStream::connect(edge))
        .await
        .map_err(silent)
        .flatten()
        .map_err(Error::Dial)?;
    stream.set_nodelay(true).map_err(Error::Dial)?;
    let handshake = TlsConnector::from(shared.verified.clone()).connect(server, stream);
    let mut stream = tokio::time::timeout(DIAL, handshake)
        .await
        .map_err(silent)
        .flatten()
        .map_err(Error::Tls)?;
    let hello = Hello {
        token: shared.token.clone(),
        connector: shared.id,
        version: ConnectorSettings::VERSION.to_owned(),
        arch: "linux_amd64".to_owned(),
    };

    let reply = async {
        send(&mut stream, &hello).await?;
        receive(&mut stream).await
    };

    match tokio::time::timeout(DIAL, reply)
        .await
        .map_err(silent)
        .flatten()
        .map_err(Error::Silent)?
    {
        Reply::Accepted {
            connection,
            location,
        } => {
            tracing::debug!(connIndex = index, %connection, location, "the edge accepts the connection");
            Ok((stream, connection))
        }
        Reply::Refused { error } => Err(Error::Refused(error)),
    }
}

/// Answers the edge until the connection ends or the connector leaves.
async fn hold(
    shared: &Arc<Shared>,
    index: usize,
    stream: EdgeStream,
    connection: Uuid,
    registered: &CancellationToken,
) {
    let gone = CancellationToken::new();
    let _gone = gone.clone().drop_guard();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, registered, gone) = (shared.clone(), registered.clone(), gone.clone());
        async move {
            if request.uri().host() != Some(CONTROL) {
                return Ok(proxy::answer(&shared, request).await);
            }
            match (request.method(), request.uri().path()) {
                (&Method::PUT, CONFIGURATION) => {
                    configure(&shared, request).await.map_err(io::Error::other)
                }
                (&Method::GET, REGISTERED) => {
                    tracing::info!(connIndex = index, %connection, protocol = "http2", "Registered tunnel connection");
                    registered.cancel();
                    Ok(Response::new(control(&shared, gone)))
                }
                (_, path) => Err(io::Error::other(format!("the edge asks for {path}"))),
            }
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(HEARTBEAT)
        .keep_alive_timeout(HEARTBEAT);
    builder.enable_connect_protocol();
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shared.leaving.cancelled() => {
            tracing::info!(connIndex = index, "Unregistered tunnel connection");
            served.as_mut().graceful_shutdown();
            served.await
        }
    };

    if let Err(error) = ended {
        tracing::debug!(%error, connIndex = index, "the connection broke");
    }
}

async fn configure(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    let body = request.into_body().collect().await?.to_bytes();
    let new: Configuration = serde_json::from_slice(&body)?;
    shared.configure(&new)?;
    Ok(Response::new(empty()))
}

/// A body that lasts as long as the edge may use the connection.
fn control(shared: &Arc<Shared>, gone: CancellationToken) -> Body {
    shared.ready.fetch_add(1, Ordering::Relaxed);
    let shared = Counted(shared.clone());
    Control {
        leaving: Box::pin(shared.0.leaving.clone().cancelled_owned()),
        gone: Box::pin(gone.cancelled_owned()),
        _counted: shared,
    }
    .boxed_unsync()
}

struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.ready.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Control {
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    _counted: Counted,
}

impl hyper::body::Body for Control {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let ended = self.leaving.as_mut().poll(context).is_ready()
            || self.gone.as_mut().poll(context).is_ready();
        if ended {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}
