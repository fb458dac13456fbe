//! What many previews cost, beside a bare client that makes the same objects: `e2e/bench`.
//!
//! Pods run on nodes of KWOK, so that what is measured is the API server, its controllers and
//! Sequencer. Figures of two runs differ by a few per cent; those of one line were taken one after
//! the other.

mod bare;
mod fleet;
mod follow;
mod place;
mod report;
mod usage;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use lab::cluster::Cluster;
use lab::testing::layout;
use sequencer_runtime::cluster;

use fleet::Fleet;
use place::Place;
use report::Report;
use usage::Usage;

/// How long a fleet is left alone to see what it costs then.
const IDLE: Duration = Duration::from_secs(60);

/// How many of a fleet are edited, one after the other.
const EDITS: usize = 50;

#[derive(Debug, Parser)]
struct Args {
    /// How many Workspaces of three components are applied at once, run by run.
    #[arg(long, value_delimiter = ',', default_values_t = [60, 300])]
    at_once: Vec<usize>,
    /// How many Workspaces of one component are applied one after the other, on a real node.
    #[arg(long, default_value_t = 20)]
    one_by_one: usize,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    drop(rustls::crypto::ring::default_provider().install_default());
    let lab = Cluster::new(layout()?);
    let kubeconfig = Kubeconfig::read_from(lab.layout.kubeconfig())?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    let client = cluster::client(config, "bench")?;

    let largest = args.at_once.iter().max().copied().unwrap_or_default();
    let place = Place::prepare(&lab, &client, largest).await?;
    let measured = measure(&args, &client, &place).await;
    place.leave().await?;
    write!(std::io::stdout(), "{}", measured?)?;
    Ok(())
}

async fn measure(args: &Args, client: &Client, place: &Place<'_>) -> Result<Report> {
    let mut report = Report::default();
    report.idle("nothing to do", &usage::over(place, IDLE).await?, 0);

    let fleet = Fleet::new(client, place);
    // What an interrupted bench left.
    fleet.clear().await?;
    // Programs are read from the disk, and connections are made.
    fleet.make(5).await?;
    fleet.clear().await?;

    for &count in &args.at_once {
        let ours = fleet.make(count).await?;
        let samples = fleet.samples().await?;
        report.idle("Ready and idle", &usage::over(place, IDLE).await?, count);
        report.times(
            "an edit reaches the Deployment",
            &fleet.edit(EDITS.min(count)).await?,
        );
        fleet.clear().await?;

        let bare = bare::make(client, place, &samples, count).await?;
        report.fleet(count, &ours, &bare);
    }

    report.times(
        "applied alone, Ready",
        &fleet.one_by_one(args.one_by_one).await?,
    );
    Ok(report)
}

/// What a fleet took.
#[derive(Clone, Debug)]
struct Made {
    /// Until all objects were there.
    objects: Duration,
    /// Until all of it was ready.
    ready: Duration,
    /// What processes took until then.
    usage: Usage,
}

impl Made {
    /// Measures from the first to the last object that is ready. `create` has them made, `are_made`
    /// and `are_ready` wait.
    async fn measure(
        place: &Place<'_>,
        create: impl Future<Output = Result<()>>,
        are_made: impl Future<Output = Result<()>>,
        are_ready: impl Future<Output = Result<()>>,
    ) -> Result<Self> {
        let (before, begun) = (Usage::now(place).await?, Instant::now());
        create.await.context("cannot make them")?;
        are_made.await?;
        let objects = begun.elapsed();
        are_ready.await?;

        Ok(Self {
            objects,
            ready: begun.elapsed(),
            usage: Usage::now(place).await?.since(&before),
        })
    }
}
