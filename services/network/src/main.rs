//! The network service: DNS records, tunnels, and the probe of what they lead to.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use sequencer_network::args::{Args, NAME};
use sequencer_network::service::Service;
use sequencer_proto::topics::Consumer;
use sequencer_runtime::bus::Bus;
use sequencer_runtime::{Runtime, cluster};

/// How many objects are handled at once. A handler mostly waits for a provider.
const SLOTS: usize = 32;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut rt = Runtime::start(NAME, &args.shared).await?;
    let service = Arc::new(
        Service::new(cluster::connect(NAME).await?, &args)
            .context("the settings cannot be used")?,
    );
    let bus = Bus::connect(NAME, &args.shared, &rt.handles()).await?;

    rt.handle(&bus, Consumer::network(), SLOTS, move |delivery| {
        let service = Arc::clone(&service);
        async move { service.handle(delivery).await }
    });
    rt.run(&bus).await?;
    Ok(())
}
