//! The process: settings, the bus, the cluster, and tasks that live as long as it does.

use anyhow::Result;
use clap::Parser as _;
use sequencer_deployer::args::{Args, NAME};
use sequencer_deployer::controllers;
use sequencer_deployer::service::Service;
use sequencer_proto::topics::Consumer;
use sequencer_runtime::bus::Bus;
use sequencer_runtime::{Runtime, cluster};

/// How many messages are handled at once.
const SLOTS: usize = 16;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut rt = Runtime::start(NAME, &args.shared).await?;
    let bus = Bus::connect(NAME, &args.shared, &rt.handles()).await?;
    let (service, receivers) = Service::new(cluster::connect(NAME).await?, &args)?;

    rt.handle(&bus, Consumer::deployer(), SLOTS, {
        let service = service.clone();
        move |delivery| service.clone().handle(delivery)
    });

    let handles = rt.handles();
    rt.spawn("reconcile", controllers::run(service, receivers, handles));
    rt.run(&bus).await?;
    Ok(())
}
