//! Whatever happens to NATS, only time is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::Config;
use futures_util::{FutureExt as _, StreamExt as _};
use sequencer_proto::topics::{COMMANDS, Command, Consumer, Pool, STREAMS, Verb};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::{Keep, Outcome};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::harness::{
    LONG, Nats, Seen, Service, command, consumer, deployers, stored, until, until_within,
};

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
    let (service, seen, _made) = harness(&nats).await?;
    handles(&service, &seen, "before").await?;
    nats.kill()?;
    until("it is unready", async || {
        Ok(service
            .handles
            .readiness
            .missing()
            .contains(&"NATS".to_owned()))
    })
    .await?;
    nats.again()?;
    handles(&service, &seen, "after").await?;
    ready(&service).await
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
async fn a_stream_with_other_settings_is_changed_in_place_and_keeps_its_messages() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client) = (Service::new(&nats).await?, nats.client().await?);
    service.bus.ensure(&deployers(LONG)).await?;
    service
        .bus
        .publish(&command(1), "ns", "name", Trigger::Change)
        .await?;

    let config = client
        .get_stream(COMMANDS.name)
        .await?
        .cached_info()
        .config
        .clone();
    let other = Config {
        max_age: Duration::from_secs(3600),
        description: Some("ours".into()),
        ..config.clone()
    };

    client.update_stream(&other).await?;
    service
        .bus
        .ensure(&deployers(Duration::from_secs(7)))
        .await?;

    let found = client
        .get_stream(COMMANDS.name)
        .await?
        .cached_info()
        .config
        .clone();

    assert_eq!(
        found,
        Config {
            description: Some("ours".into()),
            ..config
        }
    );
    assert_eq!(
        consumer(&client).await?.config.ack_wait,
        Duration::from_secs(7)
    );
    assert_eq!(stored(&client).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_changed_is_left_alone() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client) = (Service::new(&nats).await?, nats.client().await?);
    let subjects = vec![COMMANDS.subjects.to_owned()];
    let config = Config {
        name: COMMANDS.name.into(),
        subjects,
        ..Config::default()
    };

    let found = client
        .create_stream(config)
        .await?
        .cached_info()
        .config
        .clone();

    service
        .bus
        .publish(&command(1), "ns", "name", Trigger::Change)
        .await?;
    service.bus.ensure(&deployers(LONG)).await?;
    assert_eq!(
        client.get_stream(COMMANDS.name).await?.cached_info().config,
        found
    );
    assert_eq!(stored(&client).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_builds_and_look_ups_is_narrowed_before_look_ups_get_their_own() -> Result<()>
{
    let nats = Nats::start()?;
    let (service, client) = (Service::new(&nats).await?, nats.client().await?);
    let keep = |consumers| Keep {
        consumers,
        ack_wait: LONG,
        every: LONG,
    };

    let pool = Pool::default();
    let (builds, lookups) = (Consumer::builder(&pool), Consumer::resolver(&pool));
    // As it was before look-ups had a consumer of their own, with a look-up under way and a build
    // behind it.
    let both = Consumer {
        filter: "seq.v1.cmd.builder.*.default.*.*.*".into(),
        ..builds.clone()
    };

    service.bus.ensure(&keep(vec![both])).await?;

    let command = |verb, uid| {
        Command::new(
            verb,
            Some(Pool::default()),
            Uuid::from_u128(9),
            Uuid::from_u128(uid),
        )
    };

    let (lookup, build) = (command(Verb::Resolve, 1)?, command(Verb::Build, 2)?);
    service
        .bus
        .publish(&lookup, "ns", "lookup", Trigger::Change)
        .await?;
    service
        .bus
        .publish(&build, "ns", "build", Trigger::Change)
        .await?;

    let old: PullConsumer = client
        .get_consumer_from_stream(&builds.name, COMMANDS.name)
        .await?;
    let taken = old
        .fetch()
        .max_messages(1)
        .messages()
        .await?
        .next()
        .await
        .context("nothing came")?;

    assert_eq!(
        taken.map_err(anyhow::Error::from_boxed)?.subject.as_str(),
        lookup.to_string()
    );

    assert!(service.bus.ensure(&keep(Consumer::all([&pool]))).await?);
    assert!(!service.bus.ensure(&keep(Consumer::all([&pool]))).await?);
    for (consumer, wanted) in [(&builds, &build), (&lookups, &lookup)] {
        let found: PullConsumer = client
            .get_consumer_from_stream(&consumer.name, COMMANDS.name)
            .await?;
        assert_eq!(found.cached_info().config.filter_subject, consumer.filter);

        let message = found
            .fetch()
            .max_messages(10)
            .messages()
            .await?
            .next()
            .await
            .context("nothing came")?;
        let message = message.map_err(anyhow::Error::from_boxed)?;
        assert_eq!(message.subject.as_str(), wanted.to_string());
        message
            .double_ack()
            .await
            .map_err(anyhow::Error::from_boxed)?;
    }

    assert_eq!(stored(&client).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_should_be_is_not_written_again() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client) = (Service::new(&nats).await?, nats.client().await?);
    let mut created = client
        .client()
        .subscribe("$JS.API.CONSUMER.CREATE.>")
        .await?;
    let mut updated = client.client().subscribe("$JS.API.STREAM.UPDATE.>").await?;

    client.client().flush().await?;
    assert!(service.bus.ensure(&deployers(LONG)).await?);
    assert!(created.next().await.is_some());
    assert!(!service.bus.ensure(&deployers(LONG)).await?);
    assert!(!service.bus.ensure(&deployers(LONG)).await?);
    client.client().flush().await?;
    let again = (created.next().now_or_never(), updated.next().now_or_never());
    assert!(again.0.is_none() && again.1.is_none(), "{again:?}");
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
