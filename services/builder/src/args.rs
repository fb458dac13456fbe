//! The builder's settings.

use std::path::PathBuf;
use std::time::Duration;

use sequencer_proto::topics::Pool;
use sequencer_runtime::args::duration;
use sequencer_runtime::egress;

use crate::buildkit::BuildKit;
use crate::lease::Supervisor;

/// The service's name, wherever it has one.
pub const NAME: &str = "builder";

/// What `--help` says besides.
const AFTER: &str = "In the BuildKit container: builder install FOLDER, builder supervise --help";

/// Finds commits and builds images
#[derive(Clone, Debug, clap::Parser)]
#[command(name = NAME, version, after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    pub shared: sequencer_runtime::args::Args,
    #[command(flatten)]
    pub egress: egress::Args,
    /// The pool that this builder is of
    #[arg(long, env = "SEQUENCER_POOL", default_value = "default")]
    pub pool: Pool,
    /// The namespaces that the pool is open to, names or patterns like team-*, with commas; any if
    /// there are none
    #[arg(long, env = "SEQUENCER_POOL_NAMESPACES", value_delimiter = ',')]
    pub pool_namespaces: Vec<String>,
    /// How many builds run at once; above 1 only with --shared-processes
    #[arg(long, env = "SEQUENCER_CONCURRENCY", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Steps of builds that run at once may see each other's processes and secrets
    #[arg(long, env = "SEQUENCER_SHARED_PROCESSES", default_value_t = false, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    pub shared_processes: bool,
    /// How many branches are looked up at once
    #[arg(long, env = "SEQUENCER_LOOKUPS", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    pub lookups: u16,
    /// BuildKit's address: unix:///path or tcp://host:port
    #[arg(
        long,
        env = "SEQUENCER_BUILDKIT",
        default_value = "unix:///run/buildkit/buildkitd.sock"
    )]
    pub buildkit: BuildKit,
    /// The address of BuildKit's supervisor, unix:///path; without one nobody starts BuildKit anew
    #[arg(long, env = "SEQUENCER_SUPERVISOR")]
    pub supervisor: Option<Supervisor>,
    /// The staging registry: `http(s)://host:port/path`
    #[arg(long, env = "SEQUENCER_STAGING_URL")]
    pub staging_url: String,
    /// A file with the staging registry's login, `user:password`
    #[arg(long, env = "SEQUENCER_STAGING_LOGIN")]
    pub staging_login: Option<PathBuf>,
    /// Where git's mirrors and the sources of builds are kept
    #[arg(long, env = "SEQUENCER_DATA", default_value = "/var/lib/sequencer")]
    pub data: PathBuf,
    /// Host keys of git servers, beside those that are shipped
    #[arg(long, env = "SEQUENCER_KNOWN_HOSTS")]
    pub known_hosts: Option<PathBuf>,
    /// The longest that a build may take
    #[arg(long, env = "SEQUENCER_MAX_TIMEOUT", default_value = "1h", value_parser = duration)]
    pub max_timeout: Duration,
    /// How often a running build checks that it is still wanted
    #[arg(long, env = "SEQUENCER_CHECK_WANTED", default_value = "5s", value_parser = duration)]
    pub check_wanted: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent_and_each_has_its_variable() -> anyhow::Result<()> {
        test_support::arguments::check(Args::command())
    }
}
