//! The command lines of the modes that run in the BuildKit container. The chart writes them, so
//! they have no variables.

use std::path::PathBuf;

use tracing_subscriber::filter::Targets;

use crate::args::NAME;

/// The words that begin them.
pub(super) const WORDS: [&str; 3] = ["install", "supervise", "launch"];

/// What this program does in the BuildKit container
#[derive(Debug, clap::Parser)]
#[command(name = NAME)]
pub(super) enum Mode {
    /// Copy this program into a folder
    Install {
        /// The folder
        folder: PathBuf,
    },
    /// Start BuildKit, and lease it
    Supervise(Box<Supervise>),
    /// Become a command, with no signal blocked
    Launch {
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// How BuildKit is supervised.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Supervise {
    /// Where leases are asked for
    #[arg(long)]
    pub(super) listen: PathBuf,
    /// Where BuildKit listens
    #[arg(long)]
    pub(super) daemon_socket: PathBuf,
    /// The uid of the builder, which alone may ask
    #[arg(long, default_value_t = 65532)]
    pub(super) builder_uid: u32,
    /// Lease it to several builds at once, whose steps then see each other's processes and secrets
    #[arg(long)]
    pub(super) shared_processes: bool,
    /// What is logged: a level, or `target=level` pairs with commas
    #[arg(long, default_value = "info")]
    pub(super) log_level: Targets,
    /// BuildKit
    #[arg(last = true, required = true)]
    pub(super) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_modes_are_the_words_that_begin_them() {
        let command = Mode::command();
        command.clone().debug_assert();
        assert_eq!(
            command
                .get_subcommands()
                .map(clap::Command::get_name)
                .collect::<Vec<_>>(),
            WORDS
        );
    }

    #[test]
    fn the_daemon_is_what_stands_behind_the_dashes() {
        let words = [
            "builder",
            "supervise",
            "--listen=/a",
            "--daemon-socket=/b",
            "--",
            "rootlesskit",
            "buildkitd",
            "--x",
        ];
        let Mode::Supervise(args) = Mode::parse_from(words) else {
            panic!("another mode")
        };
        assert_eq!(args.command, ["rootlesskit", "buildkitd", "--x"]);
        assert!(!args.shared_processes && args.builder_uid == 65532);
    }
}
