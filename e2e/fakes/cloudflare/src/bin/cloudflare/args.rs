//! The settings of the stand-in, as flags or variables.
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use fake_cloudflare::{Limit, Settings};

/// The binary.
pub(crate) const NAME: &str = "cloudflare";

/// A stand-in for Cloudflare, for tests.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
pub(crate) struct Args {
    /// The API, over TLS
    #[arg(long, env = "FAKE_CLOUDFLARE_API", default_value = "0.0.0.0:443")]
    api: SocketAddr,
    /// The name server, UDP and TCP
    #[arg(long, env = "FAKE_CLOUDFLARE_DNS", default_value = "0.0.0.0:53")]
    dns: SocketAddr,
    /// The edge, plain
    #[arg(long, env = "FAKE_CLOUDFLARE_EDGE_HTTP", default_value = "0.0.0.0:80")]
    edge_http: SocketAddr,
    /// The edge, over TLS; an address or port other than the API's
    #[arg(
        long,
        env = "FAKE_CLOUDFLARE_EDGE_HTTPS",
        default_value = "0.0.0.0:8443"
    )]
    edge_https: SocketAddr,
    /// Where connectors connect, over TLS
    #[arg(long, env = "FAKE_CLOUDFLARE_TUNNEL", default_value = "0.0.0.0:7844")]
    tunnel: SocketAddr,
    /// The admin API, plain
    #[arg(long, env = "FAKE_CLOUDFLARE_ADMIN", default_value = "0.0.0.0:8080")]
    admin: SocketAddr,
    /// The certificate chain shown under any name, PEM
    #[arg(long, env = "FAKE_CLOUDFLARE_TLS_CERT")]
    tls_cert: PathBuf,
    /// Its key, PEM
    #[arg(long, env = "FAKE_CLOUDFLARE_TLS_KEY")]
    tls_key: PathBuf,
    /// What a proxied name resolves to
    #[arg(long, env = "FAKE_CLOUDFLARE_EDGE_ADDRESS")]
    edge_address: Ipv4Addr,
    /// The account's id, 32 hexadecimal digits
    #[arg(long, env = "FAKE_CLOUDFLARE_ACCOUNT")]
    account: String,
    /// The zone
    #[arg(long, env = "FAKE_CLOUDFLARE_ZONE")]
    zone: String,
    /// Holds the API token
    #[arg(long, env = "FAKE_CLOUDFLARE_TOKEN_FILE")]
    token_file: PathBuf,
    /// Keeps tunnels and records over a restart
    #[arg(long, env = "FAKE_CLOUDFLARE_STATE")]
    state: Option<PathBuf>,
    /// Calls the token may make in five minutes
    #[arg(long, env = "FAKE_CLOUDFLARE_RATE_LIMIT", default_value_t = 1_200)]
    rate_limit: u32,
    /// Seconds resolvers may keep "no such name"
    #[arg(long, env = "FAKE_CLOUDFLARE_NEGATIVE_TTL", default_value_t = 1_800)]
    negative_ttl: u32,
}

impl Args {
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Settings {
            api: self.api,
            dns: self.dns,
            edge_http: self.edge_http,
            edge_https: self.edge_https,
            tunnel: self.tunnel,
            admin: self.admin,
            cert_pem: read(&self.tls_cert)?,
            key_pem: read(&self.tls_key)?,
            edge_address: self.edge_address,
            account: self.account,
            second_account: None,
            zone: self.zone,
            token: read(&self.token_file)?.trim().to_owned(),
            state: self.state,
            limit: Limit {
                requests: self.rate_limit,
                window: Duration::from_secs(300),
            },
            negative_ttl: self.negative_ttl,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }
}
