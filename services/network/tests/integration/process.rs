//! The service as it runs: fed by NATS, twice at once.

use anyhow::{Result, ensure};
use sequencer_api::status::State;
use sequencer_proto::topics::{Consumer, Verb};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::Handles;
use sequencer_runtime::args::Args;
use sequencer_runtime::bus::{Bus, Keep};
use serde_json::json;

use crate::harness::{Harness, Host, RELEASE, ZONE, delivery, until};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_make_a_record_once_however_often_they_are_notified() -> Result<()> {
    let mut harness = Harness::new().await?;
    let nats = harness.nats()?;
    let watcher =
        <Cli as clap::Parser>::parse_from(["watcher", "--pod=watcher", "--nats-url", &nats]).shared;
    let bus = Bus::connect("watcher", &watcher, &Handles::default()).await?;
    let keep = Keep {
        consumers: vec![Consumer::network()],
        ack_wait: std::time::Duration::from_secs(30),
        every: std::time::Duration::from_millis(100),
    };
    crate::probe::background({
        let bus = bus.clone();
        async move { bus.keep(keep, || {}).await }
    });
    let _replicas = [
        harness.process("network-a", &nats)?,
        harness.process("network-b", &nats)?,
    ];

    let host = Host::new(ZONE);
    harness
        .faults(json!([{"method": "GET", "path": "/zones/**", "times": 6, "delay_ms": 150}]))
        .await?;
    let record = harness
        .record(
            &host,
            "CNAME",
            "6ff42ae2-0000-4000-8000-000000000000.cfargotunnel.com",
        )
        .await?;
    let command = delivery(Verb::Dns, RELEASE, &record, Trigger::Change).command;
    let name = record.metadata.name.as_deref().unwrap_or_default();
    until("the record is made", async || {
        bus.publish(&command, RELEASE, name, Trigger::Resync)
            .await?;
        ensure!(
            harness.recorded(&record).await?.section.state == Some(State::Completed),
            "not yet"
        );
        Ok(())
    })
    .await?;
    assert_eq!(
        harness.counted("records", "creates", &host.fqdn()).await?,
        1
    );
    harness.delete(&record).await?;
    until("the record is deleted", async || {
        bus.publish(&command, RELEASE, name, Trigger::Resync)
            .await?;
        ensure!(
            harness.recorded(&record).await?.section.state == Some(State::Gone),
            "not yet"
        );
        Ok(())
    })
    .await?;
    assert_eq!(
        harness.counted("records", "deletes", &host.fqdn()).await?,
        1
    );
    Ok(())
}
