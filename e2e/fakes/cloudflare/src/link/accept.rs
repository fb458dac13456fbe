//! The edge's side of a link: who may connect, what the connector is told, and when the link is
//! gone.
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::{
    Method, Request,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CONFIGURATION, CONTROL, Configuration, Hello, REGISTERED, Reply, receive, send};
use crate::{
    body::{Body, BoxError, empty, full},
    clock,
    cloud::Cloud,
    links::Link,
    listen,
    state::Data,
    tasks::Tasks,
};

/// How long a connector may take over its message.
const GREETING: Duration = Duration::from_secs(10);
/// A link that does not answer is gone after twice this.
const HEARTBEAT: Duration = Duration::from_secs(5);
const LOCATION: &str = "tst01";

pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    cloud: Arc<Cloud>,
    tasks: Tasks,
) {
    listen::accept(listener, tasks, |stream, peer| {
        let (tls, cloud) = (tls.clone(), cloud.clone());
        async move {
            if let Err(error) = greet(stream, peer, &tls, &cloud).await {
                tracing::debug!(%peer, error, "a connector's connection broke");
            }
        }
    })
    .await;
}

async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    tls: &TlsAcceptor,
    cloud: &Cloud,
) -> Result<(), BoxError> {
    let mut stream = listen::handshake(tls, stream).await?;
    let hello: Hello = tokio::time::timeout(GREETING, receive(&mut stream)).await??;
    if let Err(error) = cloud.store.read(|data| admit(&hello, &cloud.account, data)) {
        tracing::info!(%peer, tunnel = %hello.token.tunnel, error, "a connector is refused");
        return Ok(send(
            &mut stream,
            &Reply::Refused {
                error: error.to_owned(),
            },
        )
        .await?);
    }

    let id = Uuid::new_v4();
    send(
        &mut stream,
        &Reply::Accepted {
            connection: id,
            location: LOCATION.to_owned(),
        },
    )
    .await?;

    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HEARTBEAT)
        .keep_alive_timeout(HEARTBEAT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await?;
    let tunnel = hello.token.tunnel;
    let link = Link {
        id,
        connector: hello.connector,
        version: hello.version,
        arch: hello.arch,
        origin: peer.ip().to_canonical(),
        opened: clock::now(),
        config_version: 0,
        sender,
        close: CancellationToken::new(),
    };

    let _registration = Registration { cloud, tunnel, id };
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        end = lead(link, tunnel, cloud) => match end? {
            End::Cut => return Ok(()),
            End::Left => leave(cloud, tunnel, id),
        },
    }
    // No new request takes this link; those under way may finish.
    Ok(connection.await?)
}

/// What cloudflared's log shows of a refusal.
fn admit(hello: &Hello, account: &str, data: &Data) -> Result<(), &'static str> {
    match data.live(hello.token.tunnel) {
        Some(tunnel) if tunnel.account(account) != hello.token.account => {
            Err("Unauthorized: Account doesn't have tunnel")
        }
        None => Err("Unauthorized: Tunnel not found"),
        Some(tunnel) if tunnel.secret != hello.token.secret => {
            Err("Unauthorized: Invalid tunnel secret")
        }
        Some(_) => Ok(()),
    }
}

enum End {
    /// The connector says it leaves.
    Left,
    /// The API or the end of the tunnel cut the link.
    Cut,
}

/// Hands over the configuration, registers the link, and keeps the configuration up to date.
async fn lead(link: Link, tunnel: Uuid, cloud: &Cloud) -> Result<End, BoxError> {
    let (id, close, mut sender) = (link.id, link.close.clone(), link.sender.clone());
    let mut changes = cloud.store.subscribe();
    let mut link = Some(link);
    let mut control: Option<Incoming> = None;
    let mut handed = None;
    loop {
        let current = cloud.store.read(|data| {
            let found = data.live(tunnel)?;
            Some(Configuration {
                version: found.version,
                config: found.config.clone(),
            })
        });
        let Some(current) = current else {
            return Ok(End::Cut);
        };

        if handed != Some(current.version) {
            configure(&mut sender, &current).await?;
            handed = Some(current.version);
            cloud.links.configured(tunnel, id, current.version);
        }

        if let Some(link) = link.take() {
            enter(
                cloud,
                tunnel,
                Link {
                    config_version: current.version,
                    ..link
                },
            );
            control = Some(ask(&mut sender, Method::GET, REGISTERED, empty()).await?);
        }

        let gone = async {
            match control.as_mut() {
                Some(control) => control.frame().await.is_none_or(|frame| frame.is_err()),
                None => true,
            }
        };

        tokio::select! {
            gone = gone => if gone { return Ok(End::Left) },
            changed = changes.changed() => changed?,
            () = close.cancelled() => return Ok(End::Cut),
        }
    }
}

async fn configure(
    sender: &mut SendRequest<Body>,
    configuration: &Configuration,
) -> Result<(), BoxError> {
    let body = full(serde_json::to_vec(configuration)?);
    drop(ask(sender, Method::PUT, CONFIGURATION, body).await?);
    Ok(())
}

async fn ask(
    sender: &mut SendRequest<Body>,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Incoming, BoxError> {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{CONTROL}{path}"))
        .body(body)?;

    sender.ready().await?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("the connector answered {} to {path}", response.status()).into());
    }

    Ok(response.into_body())
}

fn enter(cloud: &Cloud, tunnel: Uuid, link: Link) {
    cloud.links.add(tunnel, link);
    note(cloud, tunnel, |tunnel, now| {
        tunnel.conns_active_at.get_or_insert(now);
        tunnel.conns_inactive_at = None;
    });
}

fn leave(cloud: &Cloud, tunnel: Uuid, id: Uuid) {
    let last = cloud.links.remove(tunnel, id);
    let active = |data: &Data| {
        data.tunnel(tunnel)
            .is_some_and(|tunnel| tunnel.conns_active_at.is_some())
    };

    if last && cloud.store.read(active) {
        note(cloud, tunnel, |tunnel, now| {
            if tunnel.conns_active_at.take().is_some() {
                tunnel.conns_inactive_at = Some(now);
            }
        });
    }
}

fn note(cloud: &Cloud, tunnel: Uuid, change: impl FnOnce(&mut crate::tunnel::Tunnel, Timestamp)) {
    let written = cloud.store.write(|data| {
        if let Some(tunnel) = data.tunnel_mut(tunnel) {
            change(tunnel, clock::now());
        }
        Ok::<_, std::io::Error>(())
    });
    if let Err(error) = written {
        tracing::error!(%error, "the state is not written");
    }
}

/// Takes the link out of use however its task ends.
struct Registration<'a> {
    cloud: &'a Cloud,
    tunnel: Uuid,
    id: Uuid,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        leave(self.cloud, self.tunnel, self.id);
    }
}
