//! Settings.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use sequencer_runtime::args::duration;
use sequencer_runtime::egress;

/// Binary, image, Deployment, field manager, consumer and NATS user.
pub const NAME: &str = "registry-pusher";

/// Settings of the registry-pusher.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = NAME, about = "Publishes images")]
pub struct Args {
    #[command(flatten)]
    pub shared: sequencer_runtime::args::Args,
    #[command(flatten)]
    pub egress: egress::Args,
    /// The registry that builders push to; plain http only if it says so
    #[arg(long, env = "SEQUENCER_STAGING_URL", value_parser = origin)]
    pub staging_url: Url,
    /// A file with the login for it, `user:password`; anonymous if not set
    #[arg(long, env = "SEQUENCER_STAGING_LOGIN")]
    pub staging_login: Option<PathBuf>,
    /// How many Builds are published at once
    #[arg(long, env = "SEQUENCER_PUSHES", default_value_t = 4)]
    pub pushes: usize,
    /// How many layers are sent at once, for each registry of a Build
    #[arg(long, env = "SEQUENCER_LAYERS", default_value_t = 4)]
    pub layers: usize,
    /// How long publishing to one registry may take
    #[arg(long, env = "SEQUENCER_PUSH_TIMEOUT", default_value = "30m", value_parser = duration)]
    pub push_timeout: Duration,
}

/// A scheme and a host. Settings are printed: no password may be in one.
fn origin(text: &str) -> Result<Url, String> {
    let url: Url = text
        .parse()
        .map_err(|_error| "not a URL such as http://staging:5000".to_owned())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();

    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("a login belongs into a file".into())
        }
        "http" | "https" if bare && url.has_host() => Ok(url),
        _ => Err("only http:// or https:// and a host with its port".into()),
    }
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
    fn a_staging_url_is_a_scheme_and_a_host() {
        let parse =
            |url: &str| Args::try_parse_from(["x", "--pod=a", "--staging-url", url]).is_ok();

        assert!(
            parse("http://staging.sequencer-system.svc:5000") && parse("https://registry.example")
        );

        for wrong in [
            "staging:5000",
            "https://u:p@x.y",
            "https://x.y/path",
            "ftp://x.y",
            "https://x.y?q",
        ] {
            assert!(!parse(wrong), "{wrong}");
        }
    }
}
