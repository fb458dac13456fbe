//! The watcher: see the crate.

use anyhow::Result;
use clap::Parser as _;
use sequencer_runtime::bus::Bus;
use sequencer_runtime::{Runtime, cluster};
use sequencer_watcher::args::{Args, NAME};
use sequencer_watcher::service;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut rt = Runtime::start(NAME, &args.shared).await?;
    let bus = Bus::connect(NAME, &args.shared, &rt.handles()).await?;
    let client = cluster::connect(NAME).await?;
    service::spawn(&mut rt, &bus, &client, &args)?;
    Ok(rt.run(&bus).await?)
}
