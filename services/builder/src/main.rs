//! The builder: see the crate.

use anyhow::Result;
use clap::Parser as _;
use sequencer_builder::Service;
use sequencer_builder::args::{Args, NAME};
use sequencer_proto::topics::Consumer;
use sequencer_runtime::bus::Bus;
use sequencer_runtime::{Runtime, cluster};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = Args::parse();
    // A build that was begun is finished.
    args.shared.periods.drain = args.shared.periods.drain.max(args.max_timeout);
    let mut rt = Runtime::start(NAME, &args.shared).await?;
    let bus = Bus::connect(NAME, &args.shared, &rt.handles()).await?;
    let client = cluster::connect(NAME).await?;
    let service = Service::new(client, bus.clone(), &args)?;
    rt.spawn("handle", {
        let (bus, slots) = (bus.clone(), usize::from(args.concurrency));
        let consumer = Consumer::builder(&args.pool);
        async move { bus.run(&consumer, slots, move |delivery| service.clone().handle(delivery)).await }
    });
    Ok(rt.run(&bus).await?)
}
