//! The command line of the throw-away cluster: `e2e/up` and its siblings.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use lab::cluster::{Cluster, Extras};
use lab::cpu;
use lab::install::Wanted;
use lab::layout::{Layout, text};
use lab::progress::{Progress, say};
use nix::sys::stat::{Mode, umask};

/// A throw-away Kubernetes cluster on this machine, and the tests that run on it.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Args {
    /// The checkout.
    #[arg(long, env = "SEQUENCER_E2E_REPOSITORY", default_value = ".")]
    repository: PathBuf,
    /// Where what is built once is kept.
    #[arg(
        long,
        env = "SEQUENCER_E2E_CACHE",
        default_value = "/var/cache/sequencer-e2e"
    )]
    cache: PathBuf,
    /// Where the cluster keeps its data, logs and certificates.
    #[arg(
        long,
        env = "SEQUENCER_E2E_STATE",
        default_value = "/var/lib/sequencer-e2e"
    )]
    state: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring the cluster up; what runs already is left alone.
    Up {
        /// Start KWOK too: it plays the kubelet for nodes with the annotation
        /// kwok.x-k8s.io/node=fake.
        #[arg(long)]
        kwok: bool,
        /// Start the OpenTelemetry collector too, and have the services send their traces to it.
        #[arg(long)]
        traces: bool,
    },
    /// Build every program that `up` starts, and start nothing.
    Build {
        /// What only tests run too.
        #[arg(long)]
        tests: bool,
        /// Only these.
        names: Vec<String>,
    },
    /// End the cluster and leave no process, mount, link or rule behind.
    Down {
        /// Remove its data too.
        #[arg(long)]
        purge: bool,
    },
    /// List every part with its health.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run every check and test of the repository on the cluster, which is brought up first.
    Test {
        /// Only tests whose names hold one of these.
        filters: Vec<String>,
    },
    /// Measure what many previews cost, beside a bare client that makes the same objects.
    Bench {
        /// See `e2e/bench --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Print the variables that let this shell use the cluster: eval "$(e2e/env)".
    Env,
    /// Run a command inside the cluster's namespaces, with its names and certificates.
    Run {
        /// Inside the second node's.
        #[arg(long)]
        builds: bool,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Be PID 1 of a node's namespaces (`up` starts it).
    #[command(hide = true)]
    Supervise {
        /// Where to listen.
        #[arg(long)]
        socket: PathBuf,
        /// Where the parts' output goes.
        #[arg(long)]
        logs: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    // Files that other users inside must read are readable, whatever this shell's habit.
    umask(Mode::from_bits_truncate(0o022));
    let [repository, cache, state] =
        [args.repository, args.cache, args.state].map(std::path::absolute);
    let layout = Layout {
        repository: repository?,
        cache: cache?,
        state: state?,
    };
    let cluster = Cluster::new(layout);
    let supervisor = cluster.general.supervisor.clone();
    let progress = Progress::new(move || {
        cpu::of_this_process() + supervisor.pid().map(cpu::of_tree).unwrap_or_default()
    });
    match args.verb {
        Verb::Up { kwok, traces } => {
            let extras = Extras {
                kwok,
                traces,
                sample: true,
                programs: Wanted::Cluster,
            };
            cluster.up(&progress, extras)?;
            tell(&cluster, &cluster.sample_url()?)?;
        }
        Verb::Build { tests, names } => {
            let wanted = if tests || !names.is_empty() {
                Wanted::Tests
            } else {
                Wanted::Cluster
            };
            cluster.build(&progress, wanted, &names)?;
        }
        Verb::Down { purge } => cluster.down(&progress, purge)?,
        Verb::Status { json } => return status(&cluster, json),
        Verb::Test { filters } => lab::checks::run(&cluster, &progress, &filters)?,
        Verb::Bench { args } => lab::checks::bench(&cluster, &progress, &args)?,
        Verb::Env => print_env(&cluster),
        Verb::Run { builds, command } => {
            let node = if builds {
                &cluster.builds
            } else {
                &cluster.general
            };
            let words: Vec<_> = command.iter().map(String::as_str).collect();
            let path = std::env::var("PATH").unwrap_or_default();
            let status = node
                .command(&words)?
                .env("KUBECONFIG", cluster.layout.kubeconfig())
                .env("PATH", format!("{}:{path}", text(cluster.layout.bin(""))))
                .status()
                .context("cannot start nsenter")?;
            return Ok(ExitCode::from(
                u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
            ));
        }
        Verb::Supervise { socket, logs } => lab::supervisor::run(&socket, &logs)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs where, and what to type next.
fn tell(cluster: &Cluster, sample: &str) -> Result<()> {
    let addresses = cluster
        .layout
        .render("summary.txt", cluster.summary(sample))?;
    say(&addresses);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "it is what the command was asked for")]
fn print_env(cluster: &Cluster) {
    let layout = &cluster.layout;
    println!("export KUBECONFIG='{}'", text(layout.kubeconfig()));
    println!("export PATH='{}':\"$PATH\"", text(layout.bin("")));
    println!("export SEQUENCER_E2E_CA='{}'", text(layout.pki("ca.crt")));
    // Nothing of the cluster is behind a proxy.
    println!(
        "export NO_PROXY=\"${{NO_PROXY:+$NO_PROXY,}}198.18.0.0/15\" no_proxy=\"${{no_proxy:+$no_proxy,}}198.18.0.0/15\""
    );
}

#[allow(clippy::print_stdout, reason = "it is what the command was asked for")]
fn status(cluster: &Cluster, json: bool) -> Result<ExitCode> {
    let parts = cluster.status()?;

    if json {
        println!("{}", serde_json::to_string_pretty(&parts)?);
    } else {
        for part in &parts {
            let state = part.ended.clone().unwrap_or_else(|| {
                if part.ready {
                    "ready".into()
                } else {
                    "not ready".into()
                }
            });
            println!("{:<24} {:<24} {}", part.name, state, part.log);
        }
    }

    Ok(if parts.iter().all(|part| part.ready) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
