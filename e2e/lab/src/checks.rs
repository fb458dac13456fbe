//! Every check and test of the repository, as `e2e/test` runs them.

use std::process::{Command, ExitStatus};
use std::thread::available_parallelism;

use anyhow::{Context as _, Result, bail};

use crate::cluster::{Cluster, Extras};
use crate::install::{Wanted, rust};
use crate::layout::text;
use crate::process::this_program;
use crate::progress::{Progress, say};

mod slowest;

use slowest::Slowest;

/// What needs no cluster: a name and a command line.
///
/// In the lab's profile, so that macros and build scripts are compiled once for all.
const STATIC: [(&str, &str); 6] = [
    ("fetch", "cargo fetch --locked --quiet"),
    ("format", "cargo fmt --all --check"),
    (
        "lints",
        "cargo clippy --workspace --all-targets --all-features --profile lab --locked --quiet -- -D warnings",
    ),
    (
        "docs",
        "cargo doc --workspace --no-deps --all-features --profile lab --locked --quiet",
    ),
    (
        "dependencies",
        "cargo-deny --offline --log-level=error check bans licenses sources",
    ),
    ("unused dependencies", "cargo-shear --locked --offline"),
];

/// What tests stand on beside the cluster. The sample is made by those that need it.
const EXTRAS: Extras = Extras {
    kwok: false,
    traces: true,
    sample: false,
    programs: Wanted::Cluster,
};

/// Tests that take the cluster away from all others.
const LIFECYCLE: &str = "binary(lifecycle)";

/// Runs everything; with `filters`, only the tests whose names hold one of them.
///
/// # Errors
/// A check or a test fails, or the cluster does not come up.
pub fn run(cluster: &Cluster, progress: &Progress, filters: &[String]) -> Result<()> {
    // Whether the machine is free is known before anything takes long.
    drop(cluster.hold()?);
    cluster.build(progress, Wanted::Tests, &[])?;
    if filters.is_empty() {
        for (name, line) in STATIC {
            check(cluster, name, line)?;
        }
        advisories(cluster)?;
    }

    cluster.up(progress, EXTRAS)?;

    // One after the other, so that nobody's cluster is taken away.
    let mut slowest = Slowest::default();
    let first = nextest(cluster, &format!("not {LIFECYCLE}"), filters, &mut slowest)?;
    let second = nextest(cluster, LIFECYCLE, filters, &mut slowest)?;

    cluster.up(progress, EXTRAS)?;

    say(&slowest.to_string());
    match (first, second) {
        (Some(true) | None, Some(true)) | (Some(true), None) => say("all checks and tests passed"),
        (None, None) => bail!("no test has {} in its name", filters.join(" or ")),
        _ => bail!(
            "tests failed; the parts' logs are in {}",
            text(cluster.layout.logs())
        ),
    }

    Ok(())
}

/// Runs the benchmark with these arguments.
///
/// # Errors
/// The cluster does not come up, or the benchmark fails.
pub fn bench(cluster: &Cluster, progress: &Progress, args: &[String]) -> Result<()> {
    let extras = Extras {
        kwok: true,
        traces: false,
        sample: false,
        programs: Wanted::Release,
    };
    cluster.up(progress, extras)?;
    let bench = "cargo bench --package e2e --bench load --locked --profile";
    let line = format!("{bench} {} -- {}", rust::PROFILE, args.join(" "));
    check(cluster, "benchmark", line.trim_end())
}

fn check(cluster: &Cluster, name: &str, line: &str) -> Result<()> {
    say(&format!("== {name}: {line}"));
    let argv: Vec<_> = line.split(' ').collect();
    if !run_here(cluster, &argv)?.success() {
        bail!("{name} failed: {line}");
    }
    Ok(())
}

/// Known vulnerabilities, where the machine has the database of them.
fn advisories(cluster: &Cluster) -> Result<()> {
    let line = "cargo-deny --offline --log-level=error check advisories";
    say(&format!("== advisories: {line}"));
    let argv: Vec<_> = line.split(' ').collect();
    let checked = command(cluster, &argv)?
        .output()
        .context("cannot start cargo-deny")?;
    let output = String::from_utf8_lossy(&checked.stderr);

    if checked.status.success() {
        return Ok(());
    }

    // What it says when it cannot load the database; a finding is no log line.
    if output.contains("[ERROR] failed to") {
        say(
            "not checked: this machine does not have the advisory database (cargo deny fetch gets it)",
        );
        return Ok(());
    }

    bail!("advisories: {output}")
}

/// What nextest ends with when no test matches.
const NO_TESTS: i32 = 4;

/// Whether the tests passed; none if there is none by these filters.
fn nextest(
    cluster: &Cluster,
    only: &str,
    filters: &[String],
    slowest: &mut Slowest,
) -> Result<Option<bool>> {
    let line = "cargo-nextest nextest run --workspace --all-features --locked --no-tests=fail";
    let mut argv: Vec<_> = line.split(' ').collect();
    // Most tests wait for something most of the time.
    let threads = (available_parallelism()?.get() + 1).to_string();
    argv.extend([
        "--test-threads",
        &threads,
        "--cargo-profile",
        rust::PROFILE,
        "-E",
        only,
    ]);
    argv.extend(filters.iter().map(String::as_str));
    say(&format!("== tests: {}", argv.join(" ")));

    // The cluster's outside world has its names for the tests too, and for nobody else on this
    // machine.
    let hosts = text(cluster.layout.over_etc().join("hosts"));
    let mut named = vec![
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
        &hosts,
    ];
    named.extend(argv);
    let status = run_here(cluster, &named)?;
    if status.code() == Some(NO_TESTS) {
        return Ok(None);
    }

    // nextest's own folder is the repository's, wherever cargo builds.
    slowest.read(
        &cluster
            .layout
            .repository
            .join("target/nextest/default/junit.xml"),
    )?;
    Ok(Some(status.success()))
}

fn run_here(cluster: &Cluster, argv: &[&str]) -> Result<ExitStatus> {
    command(cluster, argv)?
        .status()
        .with_context(|| format!("cannot start {argv:?}"))
}

fn command(cluster: &Cluster, argv: &[&str]) -> Result<Command> {
    let layout = &cluster.layout;
    let (program, args) = argv.split_first().context("an empty command")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(&layout.repository)
        .envs(rust::environment(layout)?)
        .env("PATH", format!("{}:{path}", text(layout.bin(""))))
        .env("RUSTDOCFLAGS", "-D warnings")
        .env("RUST_BACKTRACE", "0")
        .env("SEQUENCER_E2E_PROGRAM", this_program()?)
        .env("SEQUENCER_E2E_REPOSITORY", &layout.repository)
        .env("SEQUENCER_E2E_CACHE", &layout.cache)
        .env("SEQUENCER_E2E_STATE", &layout.state);
    Ok(command)
}
