//! cloudflared's command line, as far as `tunnel run` goes.
use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args as Group, Parser, Subcommand};
use fake_cloudflare::{ConnectorSettings, native_roots};
use tracing_subscriber::filter::LevelFilter;

/// The binary.
pub(crate) const NAME: &str = "cloudflared";

/// A stand-in for cloudflared, for tests.
#[derive(Debug, Parser)]
#[command(name = NAME, version = ConnectorSettings::VERSION)]
pub(crate) struct Args {
    /// Taken, and of no effect here; the image's entrypoint has it before the command
    #[arg(long, env = "NO_AUTOUPDATE", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    no_autoupdate: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connects a tunnel
    Tunnel(Box<Tunnel>),
    /// Prints the version
    Version,
}

/// Every flag may stand before or after `run`.
#[derive(Debug, Group)]
pub(crate) struct Tunnel {
    #[command(subcommand)]
    run: Run,
    /// Where /ready and /metrics are served
    #[arg(
        long,
        env = "TUNNEL_METRICS",
        default_value = "localhost:20241",
        global = true
    )]
    metrics: String,
    /// The edge, in place of the addresses DNS gives
    #[arg(long, env = "TUNNEL_EDGE", global = true)]
    edge: Vec<String>,
    /// How long requests under way may take after SIGTERM
    #[arg(long, env = "TUNNEL_GRACE_PERIOD", default_value = "30s", value_parser = duration, global = true)]
    grace_period: Duration,
    /// debug, info, warn, error or fatal
    #[arg(long, env = "TUNNEL_LOGLEVEL", default_value = "info", value_parser = level, global = true)]
    pub(crate) loglevel: LevelFilter,
    /// How many connections to hold
    #[arg(
        long,
        env = "TUNNEL_HA_CONNECTIONS",
        default_value_t = 4,
        hide = true,
        global = true
    )]
    ha_connections: usize,
    #[command(flatten)]
    unused: Unused,
}

/// Taken, and of no effect here.
#[derive(Debug, Group)]
struct Unused {
    #[arg(long, env = "TUNNEL_TRANSPORT_PROTOCOL", global = true)]
    protocol: Option<String>,
    #[arg(long, env = "TUNNEL_EDGE_IP_VERSION", global = true)]
    edge_ip_version: Option<String>,
    #[arg(long, env = "TUNNEL_TRANSPORT_LOGLEVEL", global = true)]
    transport_loglevel: Option<String>,
    #[arg(long, env = "TUNNEL_RETRIES", global = true)]
    retries: Option<u32>,
    #[arg(long, env = "TUNNEL_LOGFORMAT", global = true)]
    output: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// Runs a tunnel
    Run {
        /// The tunnel's token
        #[arg(long, env = "TUNNEL_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Holds the tunnel's token
        #[arg(long, env = "TUNNEL_TOKEN_FILE")]
        token_file: Option<PathBuf>,
    },
}

impl Tunnel {
    /// Nothing if no token is given.
    pub(crate) fn settings(self) -> anyhow::Result<Option<ConnectorSettings>> {
        let Run::Run { token, token_file } = self.run;
        let token = match (token, token_file) {
            (Some(token), _) => token,
            (None, Some(path)) => std::fs::read_to_string(&path)
                .with_context(|| format!("Failed to read token file: {}", path.display()))?,
            (None, None) => return Ok(None),
        };

        let mut settings = ConnectorSettings::new(token);

        if !self.edge.is_empty() {
            settings.edges = self.edge;
        }

        settings.roots = native_roots();
        settings.metrics = self.metrics;
        settings.connections = self.ha_connections;
        settings.grace = self.grace_period;
        Ok(Some(settings))
    }
}

/// Durations as Go writes them: `30s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}");
    let mut rest = text;
    let mut total = Duration::ZERO;

    while !rest.is_empty() {
        let digits = rest
            .find(|byte: char| !byte.is_ascii_digit())
            .filter(|digits| *digits > 0)
            .ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_overflow| wrong())?;
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        let (after, milliseconds) = units
            .iter()
            .find_map(|(name, each)| Some((unit.strip_prefix(name)?, each)))
            .ok_or_else(wrong)?;
        total += Duration::from_millis(number.checked_mul(*milliseconds).ok_or_else(wrong)?);
        rest = after;
    }

    Ok(total)
}

fn level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "fatal" | "panic" => Ok(LevelFilter::ERROR),
        level => level
            .parse()
            .map_err(|_unknown| format!("unknown level {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn tunnel(line: &str) -> Tunnel {
        match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Tunnel(tunnel) => *tunnel,
            Command::Version => panic!("not a tunnel"),
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_run() {
        let parsed = tunnel(
            "cloudflared tunnel --no-autoupdate --metrics 0.0.0.0:20241 run --grace-period 1m30s --protocol http2 --token-file /t",
        );
        assert_eq!(parsed.metrics, "0.0.0.0:20241");
        assert_eq!(parsed.grace_period, Duration::from_secs(90));
        let Run::Run { token_file, .. } = parsed.run;
        assert_eq!(token_file, Some("/t".into()));
        assert_eq!(
            tunnel("cloudflared --no-autoupdate tunnel run --token x").metrics,
            "localhost:20241"
        );
        assert_eq!(
            tunnel("cloudflared tunnel run --token x --metrics :1 --no-autoupdate=true").metrics,
            ":1"
        );
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h2m3s"), Ok(Duration::from_secs(3_723)));
        for wrong in ["30", "s", "5x", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
