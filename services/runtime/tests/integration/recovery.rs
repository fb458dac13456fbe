//! Whatever happens to NATS, only time is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use sequencer_proto::topics::{COMMANDS, STREAMS};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use tokio::sync::Semaphore;

use crate::harness::{LONG, Nats, Seen, Service, command, deployers, stored, until, until_within};

/// A service that notes what it handles, and the count of times that the streams were made.
async fn harness(nats: &Nats) -> Result<(Service, Seen, Arc<AtomicUsize>)> {
    let (service, seen, made) = (
        Service::new(nats).await?,
        Seen::default(),
        Arc::new(AtomicUsize::new(0)),
    );
    let (handled, count) = (seen.clone(), Arc::clone(&made));
    service.run(2, move |delivery| {
        handled.add(delivery.payload.name);
        std::future::ready(Outcome::Done)
    });
    until("it names what is missing", async || {
        Ok(service.handles.readiness.missing() == ["consumer deployer"])
    })
    .await?;
    service.keep(deployers(LONG), move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    ready(&service).await?;
    Ok((service, seen, made))
}

async fn ready(service: &Service) -> Result<()> {
    until("it is ready", async || {
        Ok(service.handles.readiness.missing().is_empty())
    })
    .await
}

/// Publishes until it is stored, as a resync does.
async fn publish(service: &Service, name: &str) -> Result<()> {
    until("it is stored", async || {
        Ok(service
            .bus
            .publish(&command(1), "ns", name, Trigger::Change)
            .await
            .map(|()| true)?)
    })
    .await
}

async fn handles(service: &Service, seen: &Seen, name: &str) -> Result<()> {
    publish(service, name).await?;
    until("it is handled", async || {
        Ok(seen.all().last().is_some_and(|last| last == name))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_deleted_while_running_are_made_again_and_work_goes_on() -> Result<()> {
    let nats = Nats::start()?;
    let (service, seen, made) = harness(&nats).await?;
    handles(&service, &seen, "before").await?;
    let client = nats.client().await?;
    for stream in &STREAMS {
        client.delete_stream(stream.name).await?;
    }
    until("it is noticed", async || {
        Ok(made.load(Ordering::SeqCst) > 0 && stored(&client).await.is_ok())
    })
    .await?;
    handles(&service, &seen, "after").await?;
    ready(&service).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_is_made_again() -> Result<()> {
    let nats = Nats::start()?;
    let (service, seen, _made) = harness(&nats).await?;
    let client = nats.client().await?;
    client
        .get_stream(COMMANDS.name)
        .await?
        .delete_consumer("deployer")
        .await?;
    handles(&service, &seen, "after").await?;
    ready(&service).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_killed_and_started_again_keeps_what_was_not_acknowledged() -> Result<()> {
    let mut nats = Nats::start()?;
    let (service, seen, made) = harness(&nats).await?;
    handles(&service, &seen, "before").await?;
    let before = made.load(Ordering::SeqCst);
    nats.kill()?;
    until("it is unready", async || {
        let missing = service.handles.readiness.missing();
        Ok(["NATS", "streams and consumers"]
            .map(String::from)
            .iter()
            .all(|part| missing.contains(part)))
    })
    .await?;
    nats.again()?;
    handles(&service, &seen, "after").await?;
    ready(&service).await?;
    assert_eq!(
        made.load(Ordering::SeqCst),
        before,
        "nothing had to be made"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_back_without_its_store_is_filled_again() -> Result<()> {
    let mut nats = Nats::start()?;
    let (service, seen, made) = harness(&nats).await?;
    handles(&service, &seen, "before").await?;
    let before = made.load(Ordering::SeqCst);
    nats.kill()?;
    std::fs::remove_dir_all(nats.store())?;
    until("it is noticed", async || {
        Ok(!service.handles.readiness.missing().is_empty())
    })
    .await?;
    nats.again()?;
    handles(&service, &seen, "after").await?;
    ready(&service).await?;
    assert!(
        made.load(Ordering::SeqCst) > before,
        "nobody learned that the streams were empty"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_gets_its_next_message_at_once() -> Result<()> {
    let nats = Nats::start()?;
    let (service, seen, _made) = harness(&nats).await?;
    let begun = Instant::now();
    // Heartbeats have come, and the first request for messages is over.
    let idle = Duration::from_secs(32);
    until_within("it was idle", idle * 2, async || Ok(begun.elapsed() > idle)).await?;
    let begun = Instant::now();
    handles(&service, &seen, "after").await?;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        service
            .handles
            .metrics
            .text()
            .contains("sequencer_rebinds_total 1\n"),
        "it was lost meanwhile"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_what_is_under_way_and_gives_the_rest_back() -> Result<()> {
    let nats = Nats::start()?;
    let (leaving, staying) = (Service::new(&nats).await?, Service::new(&nats).await?);
    let (client, seen, go) = (
        nats.client().await?,
        Seen::default(),
        Arc::new(Semaphore::new(0)),
    );

    leaving.bus.ensure(&deployers(LONG)).await?;
    let (handled, wait) = (seen.clone(), Arc::clone(&go));
    let running = leaving.run(2, move |delivery| {
        let (handled, wait) = (handled.clone(), Arc::clone(&wait));
        async move {
            handled.add(format!("{} begins", delivery.payload.name));
            if delivery.payload.name == "stuck" {
                std::future::pending::<()>().await;
            }
            drop(wait.acquire().await);
            handled.add(format!("{} ends", delivery.payload.name));
            Outcome::Done
        }
    });

    for (uid, name) in [(1, "stuck"), (2, "slow")] {
        leaving
            .bus
            .publish(&command(uid), "ns", name, Trigger::Change)
            .await?;
    }

    until("both are under way", async || Ok(seen.all().len() == 2)).await?;
    leaving.handles.shutdown.stop();
    leaving
        .bus
        .publish(&command(3), "ns", "late", Trigger::Change)
        .await?;
    go.add_permits(1);
    until(
        "the slow one ends",
        async || Ok(stored(&client).await? == 2),
    )
    .await?;
    assert!(seen.all().contains(&"slow ends".to_owned()) && !running.is_finished());
    leaving.handles.shutdown.cut_off();
    running.await?;

    // Long before the ack wait is over.
    let others = Seen::default();
    let handled = others.clone();

    staying.run(2, move |delivery| {
        handled.add(delivery.payload.name);
        std::future::ready(Outcome::Done)
    });

    until("another replica has the rest", async || {
        Ok(stored(&client).await? == 0)
    })
    .await?;

    let mut others = others.all();
    others.sort();
    assert_eq!(others, ["late", "stuck"]);
    assert!(!seen.all().contains(&"late begins".to_owned()));
    Ok(())
}
