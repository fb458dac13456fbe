//! The registry-pusher: publishes images.

use std::sync::Arc;

use anyhow::Result;
use clap::Parser as _;
use sequencer_proto::topics::Consumer;
use sequencer_registry_pusher::Service;
use sequencer_registry_pusher::args::{Args, NAME};
use sequencer_runtime::bus::Bus;
use sequencer_runtime::{Runtime, cluster};

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut rt = Runtime::start(NAME, &args.shared).await?;
    let service = Arc::new(Service::new(cluster::connect(NAME).await?, &args)?);
    let bus = Bus::connect(NAME, &args.shared, &rt.handles()).await?;

    rt.handle(
        &bus,
        Consumer::registry_pusher(),
        args.pushes,
        move |delivery| {
            let service = Arc::clone(&service);
            async move { service.handle(delivery).await }
        },
    );
    Ok(rt.run(&bus).await?)
}
