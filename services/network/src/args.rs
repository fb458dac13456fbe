//! The settings of the network service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sequencer_runtime::args::duration;
use sequencer_runtime::outside;

/// Binary, Deployment, consumer, field manager and service name in one.
pub const NAME: &str = "network";

/// DNS records, tunnels, and the probe of what they lead to
#[derive(Clone, Debug, clap::Parser)]
#[command(name = NAME, version)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the command's own text")]
    pub shared: sequencer_runtime::args::Args,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the command's own text")]
    pub outside: outside::Args,
    /// The cluster's id, which stands in the marks of what is made outside of it
    #[arg(long, env = "SEQUENCER_CLUSTER_ID", value_parser = cluster_id)]
    pub cluster_id: String,
    /// The release namespace, where DNSRecords and the providers' Secrets are
    #[arg(long, env = "SEQUENCER_NAMESPACE")]
    pub namespace: String,
    /// The namespace of connectors, their tokens and the copies of credentials
    #[arg(long, env = "SEQUENCER_TUNNELS_NAMESPACE", default_value = "sequencer-tunnels")]
    pub tunnels_namespace: String,
    /// The chart's dns.providers, YAML
    #[arg(long, env = "SEQUENCER_DNS_PROVIDERS")]
    pub dns_providers: Option<PathBuf>,
    /// Seconds that resolvers keep a record that does not say
    #[arg(long, env = "SEQUENCER_DNS_TTL", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub dns_ttl: u32,
    /// The recursive name server that is asked for the servers of a zone; the system's if not set
    #[arg(long, env = "SEQUENCER_RESOLVER")]
    pub resolver: Option<SocketAddr>,
    /// Where Cloudflare's API is
    #[arg(long, env = "SEQUENCER_CLOUDFLARE_URL", default_value = "https://api.cloudflare.com/client/v4")]
    pub cloudflare_url: String,
    /// The image of a tunnel's connector
    #[arg(long, env = "SEQUENCER_CONNECTOR_IMAGE", default_value = "docker.io/cloudflare/cloudflared:latest")]
    pub connector_image: String,
    /// How many connectors a tunnel has
    #[arg(long, env = "SEQUENCER_CONNECTOR_REPLICAS", default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=8))]
    pub connector_replicas: i32,
    /// The scheme of a tunnel's URL: https or http
    #[arg(long, env = "SEQUENCER_TUNNEL_URL_SCHEME", default_value = "https", value_parser = ["https", "http"])]
    pub tunnel_url_scheme: String,
    /// Whether an ingress that does not say is served by https
    #[arg(long, env = "SEQUENCER_INGRESS_TLS", default_value_t = true, action = clap::ArgAction::Set)]
    pub ingress_tls: bool,
    /// The wait between two looks at what takes its time: answers of name servers, connectors, the URL
    #[arg(long, env = "SEQUENCER_PROBE", default_value = "5s", value_parser = duration)]
    pub probe: Duration,
    /// The wait before something whose outcome is unknown is looked at again
    #[arg(long, env = "SEQUENCER_QUARANTINE", default_value = "30s", value_parser = duration)]
    pub quarantine: Duration,
}

/// It stands in names at providers and in DNS: `[a-z0-9]{1,12}`.
fn cluster_id(text: &str) -> Result<String, String> {
    let good =
        (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if good { Ok(text.into()) } else { Err("1 to 12 lower-case letters and digits".into()) }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn arguments_are_consistent_and_each_has_its_variable() -> anyhow::Result<()> {
        e2e::arguments::check(Args::command())
    }

    #[test]
    fn a_cluster_id_fits_into_names_and_marks() {
        let parse = |id: &str| Args::try_parse_from(["network", "--pod=a", "--namespace=r", "--cluster-id", id]);
        assert!(parse("c1").is_ok());
        for wrong in ["", "C1", "a-b", "a:b", "0123456789abc"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
