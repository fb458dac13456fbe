//! The settings that all services share: a flag and a variable `SEQUENCER_*` for each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use tracing_subscriber::filter::Targets;

/// Settings of every service; to be flattened into a service's own.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "shared")]
pub struct Args {
    /// Where NATS is; without credentials, which are files
    #[arg(long, env = "SEQUENCER_NATS_URL", default_value = "nats://nats:4222", value_parser = nats_url)]
    pub nats_url: String,
    /// The CA of NATS' certificate, PEM
    #[arg(long, env = "SEQUENCER_NATS_CA")]
    pub nats_ca: Option<PathBuf>,
    /// This service's certificate for NATS, PEM
    #[arg(long, env = "SEQUENCER_NATS_CERT", requires = "nats_key")]
    pub nats_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, env = "SEQUENCER_NATS_KEY", requires = "nats_cert")]
    pub nats_key: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "SEQUENCER_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// What is logged: a level, or `target=level` pairs with commas
    #[arg(long, env = "SEQUENCER_LOG_LEVEL", default_value = "info")]
    pub log_level: Targets,
    /// Where traces go, by OTLP over gRPC; nowhere if not set
    #[arg(long, env = "SEQUENCER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// The name of this pod, under which it holds claims; no two pods may have the same
    #[arg(long, env = "SEQUENCER_POD")]
    pub pod: String,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a comment here would replace the command's own text"
    )]
    pub periods: Periods,
}

/// How long things take: `500ms`, `40s`, `1h 30m`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Periods {
    /// A claim that is not renewed this long is over
    #[arg(long, env = "SEQUENCER_CLAIM", default_value = "120s", value_parser = duration)]
    pub claim: Duration,
    /// A claim is renewed this often
    #[arg(long, env = "SEQUENCER_CLAIM_RENEW", default_value = "40s", value_parser = duration)]
    pub claim_renew: Duration,
    /// An object that fails perhaps because of a Secret is checked this often
    #[arg(long, env = "SEQUENCER_SECRET_RETRY", default_value = "30s", value_parser = duration)]
    pub secret_retry: Duration,
    /// The first wait after a failure; it doubles with each
    #[arg(long, env = "SEQUENCER_MIN_BACKOFF", default_value = "5s", value_parser = duration)]
    pub min_backoff: Duration,
    /// The longest wait after a failure
    #[arg(long, env = "SEQUENCER_MAX_BACKOFF", default_value = "15m", value_parser = duration)]
    pub max_backoff: Duration,
    /// The wait after eight claims in a row that ended in no record
    #[arg(long, env = "SEQUENCER_POISON_RETRY", default_value = "10m", value_parser = duration)]
    pub poison_retry: Duration,
    /// How long shutdown waits for what is under way
    #[arg(long, env = "SEQUENCER_DRAIN", default_value = "25s", value_parser = duration)]
    pub drain: Duration,
    /// A command without a sign of life this long goes to another replica
    #[arg(long, env = "SEQUENCER_ACK_WAIT", default_value = "30s", value_parser = duration)]
    pub ack_wait: Duration,
}

/// Reads a duration as people write it; for services' own settings.
///
/// # Errors
/// It is none, or not above zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_error| "not a duration such as 40s or 1h 30m".to_owned())?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("not above zero".into()),
    }
}

/// Settings are printed and listed by `kubectl describe`: no password may be in one.
fn nats_url(text: &str) -> Result<String, String> {
    if text.contains('@') {
        Err("credentials do not belong into the URL".into())
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        shared: Args,
    }

    #[test]
    fn arguments_are_consistent_and_each_has_its_variable() -> anyhow::Result<()> {
        test_support::arguments::check(Cli::command())
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "5", "-5s", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_with_credentials_is_refused() {
        let parse = |url: &str| {
            Cli::try_parse_from(["x", "--pod=a", "--nats-url", url]).map(|cli| cli.shared.nats_url)
        };
        assert!(parse("nats://user:password@nats:4222").is_err());
        assert!(parse("nats://nats:4222").is_ok());
    }
}
