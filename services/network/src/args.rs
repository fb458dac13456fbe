//! The settings of the network service.

use std::net::SocketAddr;
use std::time::Duration;

use sequencer_runtime::args::duration;
use sequencer_runtime::egress;

/// Binary, Deployment, consumer, field manager and service name in one.
pub const NAME: &str = "network";

/// DNS records, tunnels, and the probe of what they lead to
#[derive(Clone, Debug, clap::Parser)]
#[command(name = NAME, version)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    pub shared: sequencer_runtime::args::Args,
    #[command(flatten)]
    pub egress: egress::Args,
    #[command(flatten)]
    pub hosts: sequencer_runtime::hosts::Args,
    /// The namespace of connectors, their tokens and the copies of credentials
    #[arg(
        long,
        env = "SEQUENCER_TUNNELS_NAMESPACE",
        default_value = "sequencer-tunnels"
    )]
    pub tunnels_namespace: String,
    /// Seconds that resolvers keep a record that does not say
    #[arg(long, env = "SEQUENCER_DNS_TTL", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub dns_ttl: u32,
    /// The recursive name server that is asked for the servers of a zone; the system's if not set
    #[arg(long, env = "SEQUENCER_RESOLVER")]
    pub resolver: Option<SocketAddr>,
    /// Where Cloudflare's API is
    #[arg(
        long,
        env = "SEQUENCER_CLOUDFLARE_URL",
        default_value = "https://api.cloudflare.com/client/v4"
    )]
    pub cloudflare_url: String,
    /// The image of a tunnel's connector
    #[arg(
        long,
        env = "SEQUENCER_CONNECTOR_IMAGE",
        default_value = "docker.io/cloudflare/cloudflared:latest"
    )]
    pub connector_image: String,
    /// How many connectors a tunnel has
    #[arg(long, env = "SEQUENCER_CONNECTOR_REPLICAS", default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=8))]
    pub connector_replicas: i32,
    #[command(flatten)]
    pub urls: sequencer_runtime::hosts::Urls,
    /// The wait between two checks of what takes its time: answers of name servers, connectors, the
    /// URL
    #[arg(long, env = "SEQUENCER_PROBE", default_value = "5s", value_parser = duration)]
    pub probe: Duration,
    /// The wait before something whose outcome is unknown is checked again
    #[arg(long, env = "SEQUENCER_QUARANTINE", default_value = "30s", value_parser = duration)]
    pub quarantine: Duration,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn arguments_are_consistent_and_each_has_its_variable() -> anyhow::Result<()> {
        test_support::arguments::check(Args::command())
    }

    #[test]
    fn a_cluster_id_fits_into_names_and_marks() {
        let parse = |id: &str| {
            Args::try_parse_from(["network", "--pod=a", "--namespace=r", "--cluster-id", id])
        };
        assert!(parse("c1").is_ok());
        for wrong in ["", "C1", "a-b", "a:b", "0123456789abc"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
