//! The watcher's settings.

use std::time::Duration;

use clap::Parser;
use sequencer_runtime::args::duration;

use crate::pools::OpenPool;

/// The service's one name.
pub const NAME: &str = "watcher";

/// Decides what happens next.
#[derive(Clone, Debug, Parser)]
#[command(name = NAME)]
pub struct Args {
    #[command(flatten)]
    pub shared: sequencer_runtime::args::Args,
    #[command(flatten)]
    pub hosts: sequencer_runtime::hosts::Args,
    /// How many seconds resolvers keep a record
    #[arg(long, env = "SEQUENCER_DNS_TTL", default_value_t = 60, value_parser = clap::value_parser!(i32).range(1..=86_400))]
    pub dns_ttl: i32,
    #[command(flatten)]
    pub urls: sequencer_runtime::hosts::Urls,
    /// The pools of builders, with commas; name=team-*|ops is open to these namespaces alone
    #[arg(
        long,
        env = "SEQUENCER_POOLS",
        value_delimiter = ',',
        default_value = "default"
    )]
    pub pools: Vec<OpenPool>,
    /// How long a Workspace lives after the last activity, where it does not say; none: for ever
    #[arg(long, env = "SEQUENCER_WORKSPACE_TTL", value_parser = duration)]
    pub workspace_ttl: Option<Duration>,
    /// The longest ttl that a Workspace may ask for
    #[arg(long, env = "SEQUENCER_MAX_TTL", default_value = "8760h", value_parser = duration)]
    pub max_ttl: Duration,
    /// How many Workspaces a namespace may have; 0: any number
    #[arg(long, env = "SEQUENCER_WORKSPACES_PER_NAMESPACE", default_value_t = 50)]
    pub workspaces_per_namespace: usize,
    /// How many Builds of a namespace run at once, the others wait; 0: any number
    #[arg(long, env = "SEQUENCER_BUILDS_PER_NAMESPACE", default_value_t = 4)]
    pub builds_per_namespace: usize,
    /// How often handlers of what is unfinished are notified again; also the wait before something is
    /// abandoned
    #[arg(long, env = "SEQUENCER_RESYNC", default_value = "60s", value_parser = duration)]
    pub resync: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent_and_each_has_its_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        for arg in command
            .get_arguments()
            .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        {
            assert!(
                arg.get_env()
                    .is_some_and(|name| name.to_string_lossy().starts_with("SEQUENCER_")),
                "{arg}"
            );
        }
    }
}
