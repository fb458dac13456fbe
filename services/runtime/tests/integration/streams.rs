//! Streams and consumers become as they have to be, and nothing in them is lost.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::Config;
use futures_util::{FutureExt as _, StreamExt as _};
use sequencer_proto::topics::{COMMANDS, Command, Consumer, Pool, Verb};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Keep;
use uuid::Uuid;

use crate::harness::{LONG, Nats, Service, command, consumer, deployers, stored};

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
