//! Starting the stand-in: every address bound, then everything served until it is stopped.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, UdpSocket},
    time::Instant,
};

use crate::{
    admin, api,
    cloud::{Cloud, Served, Zone},
    counters::Counters,
    dns,
    edge::{self, Edge},
    faults::Faults,
    limit::{Limit, Limiter},
    link,
    links::Links,
    state::Store,
    tasks::Tasks,
    tls,
};

/// How often a port free for UDP turned out to be taken for TCP before we give up.
const TRIES: usize = 16;

/// How the stand-in is started. Port 0 stands for any free port.
#[derive(Clone)]
pub struct Settings {
    /// The API, over TLS.
    pub api: SocketAddr,
    /// The name server, UDP and TCP.
    pub dns: SocketAddr,
    /// The edge, plain.
    pub edge_http: SocketAddr,
    /// The edge, over TLS.
    pub edge_https: SocketAddr,
    /// Where connectors connect, over TLS.
    pub tunnel: SocketAddr,
    /// The admin API, plain.
    pub admin: SocketAddr,
    /// The certificate chain all of them show, under any name.
    pub cert_pem: String,
    pub key_pem: String,
    /// What a proxied name resolves to.
    pub edge_address: Ipv4Addr,
    /// 32 hexadecimal digits.
    pub account: String,
    /// An account beside it that the token may use too: it has tunnels, and no zone.
    pub second_account: Option<String>,
    pub zone: String,
    /// The one API token.
    pub token: String,
    /// Keeps tunnels and records over a restart.
    pub state: Option<PathBuf>,
    /// How many calls the token may make.
    pub limit: Limit,
    /// How long resolvers may keep "no such name".
    pub negative_ttl: u32,
}

impl Settings {
    /// Everything on free ports of 127.0.0.1, with Cloudflare's limits, and nothing kept.
    #[must_use]
    pub fn local(cert_pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            api: any,
            dns: any,
            edge_http: any,
            edge_https: any,
            tunnel: any,
            admin: any,
            cert_pem: cert_pem.into(),
            key_pem: key_pem.into(),
            edge_address: Ipv4Addr::LOCALHOST,
            account: "0123456789abcdef0123456789abcdef".into(),
            second_account: None,
            zone: "yourdomain.com".into(),
            token: "a-token-of-the-forty-characters-they-have".into(),
            state: None,
            limit: Limit::default(),
            negative_ttl: 1_800,
        }
    }

    /// As [`Settings::local`], on one address: the name server, the edge and where connectors connect
    /// have the ports that the real ones have.
    #[must_use]
    pub fn on(address: Ipv4Addr, cert_pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        let at = |port: u16| SocketAddr::from((address, port));
        Self {
            api: at(8443),
            dns: at(53),
            edge_http: at(80),
            edge_https: at(443),
            tunnel: at(7844),
            admin: at(8080),
            edge_address: address,
            ..Self::local(cert_pem, key_pem)
        }
    }
}

/// Why the stand-in does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account id does not look like one.
    #[error("the account has to be 32 hexadecimal digits")]
    Account,
    /// An address cannot be had.
    #[error("listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate does not serve.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The state file cannot be read.
    #[error("read the state")]
    State(#[source] io::Error),
}

/// Where everything is served.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The API, over TLS.
    pub api: SocketAddr,
    /// The name server, UDP and TCP.
    pub dns: SocketAddr,
    /// The edge, plain.
    pub edge_http: SocketAddr,
    /// The edge, over TLS.
    pub edge_https: SocketAddr,
    /// Where connectors connect, over TLS.
    pub tunnel: SocketAddr,
    /// The admin API, plain.
    pub admin: SocketAddr,
}

/// A stand-in under way. It ends when dropped.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    zone_id: String,
    tasks: Tasks,
}

impl Running {
    /// Where everything is served.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The id of the zone.
    #[must_use]
    pub fn zone_id(&self) -> &str {
        &self.zone_id
    }

    /// Ends at once, and returns when nothing is left.
    pub async fn stop(self) {
        self.tasks.stop().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// Starts the stand-in.
///
/// # Errors
/// An address cannot be had, or a setting is not usable.
pub async fn serve(settings: Settings) -> Result<Running, Error> {
    if settings.account.len() != 32
        || !settings
            .account
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(Error::Account);
    }

    let web = tls::acceptor(&settings.cert_pem, &settings.key_pem, &["h2", "http/1.1"])?;
    let connectors = tls::acceptor(&settings.cert_pem, &settings.key_pem, &[])?;
    let (udp, tcp, dns_address) = name_server(settings.dns).await?;
    let (api, api_address) = listen(settings.api).await?;
    let (edge_http, edge_http_address) = listen(settings.edge_http).await?;
    let (edge_https, edge_https_address) = listen(settings.edge_https).await?;
    let (tunnel, tunnel_address) = listen(settings.tunnel).await?;
    let (admin, admin_address) = listen(settings.admin).await?;
    let addresses = Addresses {
        api: api_address,
        dns: dns_address,
        edge_http: edge_http_address,
        edge_https: edge_https_address,
        tunnel: tunnel_address,
        admin: admin_address,
    };

    let cloud = Arc::new(cloud(settings, addresses)?);
    let tasks = Tasks::default();
    let edge = Edge::new(cloud.clone(), tasks.clone())?;

    tasks.spawn(api::serve(api, web.clone(), cloud.clone(), tasks.clone()));
    tasks.spawn(dns::udp(udp, cloud.clone()));
    tasks.spawn(dns::tcp(tcp, cloud.clone(), tasks.clone()));
    tasks.spawn(edge::serve(edge_http, None, edge.clone()));
    tasks.spawn(edge::serve(edge_https, Some(web), edge));
    tasks.spawn(link::accept::serve(
        tunnel,
        connectors,
        cloud.clone(),
        tasks.clone(),
    ));
    tasks.spawn(admin::serve(admin, cloud.clone(), tasks.clone()));
    tracing::info!(
        ?addresses,
        zone = cloud.zone.name,
        zone_id = cloud.zone.id,
        "the stand-in serves"
    );

    Ok(Running {
        addresses,
        zone_id: cloud.zone.id.clone(),
        tasks,
    })
}

fn cloud(settings: Settings, addresses: Addresses) -> Result<Cloud, Error> {
    // A listener of its own address is named by it; one on all addresses by the edge's.
    let named = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) if !address.is_unspecified() => address,
        _ => settings.edge_address,
    };
    Ok(Cloud {
        served: Served {
            edge: settings.edge_address,
            api: named(addresses.api),
            tunnel: named(addresses.tunnel),
            dns: named(addresses.dns),
            negative_ttl: settings.negative_ttl,
        },
        account: settings.account.to_ascii_lowercase(),
        second_account: settings
            .second_account
            .map(|account| account.to_ascii_lowercase()),
        zone: Zone::new(&settings.zone),
        token: Mutex::new(Some(settings.token)),
        limiter: Mutex::new(Limiter::new(settings.limit, Instant::now())),
        store: Store::open(settings.state).map_err(Error::State)?,
        links: Links::default(),
        faults: Faults::default(),
        counters: Counters::default(),
    })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The same port for UDP and TCP.
async fn name_server(address: SocketAddr) -> Result<(UdpSocket, TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen(address, error);
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        let bound = udp.local_addr().map_err(failed)?;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((udp, tcp, bound)),
            Err(_taken) if address.port() == 0 && tries < TRIES => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}
