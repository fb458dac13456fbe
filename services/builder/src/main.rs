//! The builder: see the crate.

use anyhow::Result;
use clap::Parser as _;
use sequencer_builder::args::{Args, NAME};
use sequencer_builder::{Service, supervise};
use sequencer_proto::topics::Consumer;
use sequencer_runtime::bus::Bus;
use sequencer_runtime::{Runtime, cluster};

fn main() -> Result<()> {
    if supervise::is_asked_for() {
        return supervise::run();
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> Result<()> {
    let mut args = Args::parse();
    // A build that was begun is finished.
    args.shared.periods.drain = args.shared.periods.drain.max(args.max_timeout);
    let mut rt = Runtime::start(NAME, &args.shared).await?;
    let bus = Bus::connect(NAME, &args.shared, &rt.handles()).await?;
    let client = cluster::connect(NAME).await?;
    let service = Service::new(client, bus.clone(), &args)?;
    // Each with slots of its own: a long build holds up no look-up.
    let consumers = [
        (Consumer::builder(&args.pool), args.concurrency),
        (Consumer::resolver(&args.pool), args.lookups),
    ];
    for (consumer, slots) in consumers {
        let service = service.clone();
        rt.handle(&bus, consumer, usize::from(slots), move |delivery| {
            service.clone().handle(delivery)
        });
    }

    Ok(rt.run(&bus).await?)
}
