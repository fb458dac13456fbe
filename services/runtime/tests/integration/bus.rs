//! Messages and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use sequencer_proto::topics::{BuildLog, Event, Kind, LOGS, Service as Word};
use sequencer_proto::v1::{Line, Progress, Trigger};
use sequencer_runtime::bus::Outcome;
use tokio::sync::Semaphore;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use uuid::Uuid;

use crate::harness::{LONG, Nats, Seen, Service, command, consumer, deployers, stored, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_but_one_is_acknowledged_and_that_one_comes_again() -> Result<()> {
    let (nats, outcomes) = (
        Nats::start()?,
        [
            Outcome::Done,
            Outcome::Gone,
            Outcome::Stale,
            Outcome::ClaimedElsewhere,
            Outcome::Recorded,
            Outcome::NotRecorded,
        ],
    );
    let (service, client, seen) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Seen::default(),
    );

    service
        .bus
        .ensure(&deployers(Duration::from_secs(1)))
        .await?;

    for uid in 0..outcomes.len() {
        service
            .bus
            .publish(&command(uid as u128), "ns", "name", Trigger::Change)
            .await?;
    }

    let handled = seen.clone();
    service.run(4, move |delivery| {
        let uid = usize::try_from(delivery.command.uid().as_u128()).unwrap();
        handled.add(format!(
            "{uid}{}",
            if delivery.again { " again" } else { "" }
        ));

        std::future::ready(if delivery.again {
            Outcome::Done
        } else {
            outcomes[uid]
        })
    });
    until("all are handled", async || Ok(stored(&client).await? == 0)).await?;
    let mut seen = seen.all();
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "5 again"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_dropped_and_counted() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client, seen) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Seen::default(),
    );
    service.bus.ensure(&deployers(LONG)).await?;
    let handled = seen.clone();
    service.run(4, move |delivery| {
        handled.add(delivery.payload.name);
        std::future::ready(Outcome::Done)
    });
    let payload = sequencer_proto::Message::encode_to_vec(&command(2).payload(
        "ns",
        "another",
        Trigger::Change,
    ));
    let raw = |subject: String, payload: Vec<u8>| {
        let client = client.client();
        #[expect(clippy::disallowed_methods, reason = "what the bus would not send")]
        async move {
            client.publish(subject, payload.into()).await
        }
    };
    raw(command(1).to_string(), b"garbage".to_vec()).await?;
    raw(command(1).to_string(), payload.clone()).await?;
    raw("seq.v1.cmd.deployer.undeploy._.x.y.z".into(), payload).await?;
    service
        .bus
        .publish(&command(3), "ns", "good", Trigger::Change)
        .await?;
    until("all are gone", async || {
        Ok(stored(&client).await? == 0 && seen.all().len() == 1)
    })
    .await?;
    assert_eq!(seen.all(), ["good"]);
    // The second replaced the first, unless that had been read before.
    let text = service.handles.metrics.text();
    assert!(
        text.contains("undecodable_total 2") || text.contains("undecodable_total 3"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_works_long_keeps_its_message() -> Result<()> {
    let nats = Nats::start()?;
    let ack_wait = Duration::from_secs(1);
    let (one, other) = (Service::new(&nats).await?, Service::new(&nats).await?);
    let (client, seen, go) = (
        nats.client().await?,
        Seen::default(),
        Arc::new(Semaphore::new(0)),
    );
    one.bus.ensure(&deployers(ack_wait)).await?;
    for service in [&one, &other] {
        let (seen, go) = (seen.clone(), Arc::clone(&go));
        service.run(4, move |_| {
            seen.add("begun");
            let go = Arc::clone(&go);
            async move {
                drop(go.acquire().await);
                Outcome::Done
            }
        });
    }
    one.bus
        .publish(&command(1), "ns", "name", Trigger::Change)
        .await?;
    let begun = Instant::now();
    until("three ack waits are over", async || {
        Ok(begun.elapsed() > ack_wait * 3)
    })
    .await?;
    assert_eq!(seen.all(), ["begun"]);
    assert_eq!(consumer(&client).await?.num_redelivered, 0);
    go.add_permits(1);
    until("it is acknowledged", async || {
        Ok(stored(&client).await? == 0)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commands_of_one_object_the_newest_is_delivered() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client, seen) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Seen::default(),
    );
    service.bus.ensure(&deployers(LONG)).await?;
    service
        .bus
        .publish(&command(1), "ns", "first", Trigger::Change)
        .await?;
    service
        .bus
        .publish(&command(1), "ns", "second", Trigger::Change)
        .await?;
    service
        .bus
        .publish(&command(2), "ns", "other", Trigger::Change)
        .await?;
    let handled = seen.clone();
    service.run(1, move |delivery| {
        handled.add(delivery.payload.name);
        std::future::ready(Outcome::Done)
    });
    until("both are handled", async || Ok(stored(&client).await? == 0)).await?;
    assert_eq!(seen.all(), ["second", "other"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_while_in_flight_is_delivered_again_but_not_at_the_same_time() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client, seen) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Seen::default(),
    );
    let go = Arc::new(Semaphore::new(0));

    service.bus.ensure(&deployers(LONG)).await?;
    let (handled, wait) = (seen.clone(), Arc::clone(&go));
    service.run(4, move |delivery| {
        let (handled, wait) = (handled.clone(), Arc::clone(&wait));
        async move {
            handled.add(format!("{} begins", delivery.payload.name));
            wait.acquire().await.unwrap().forget();
            handled.add(format!("{} ends", delivery.payload.name));
            Outcome::Done
        }
    });

    service
        .bus
        .publish(&command(1), "ns", "first", Trigger::Change)
        .await?;
    until("the first is under way", async || Ok(seen.all().len() == 1)).await?;
    service
        .bus
        .publish(&command(1), "ns", "second", Trigger::Change)
        .await?;

    until("the second is delivered", async || {
        Ok(consumer(&client).await?.delivered.consumer_sequence == 2)
    })
    .await?;
    assert_eq!(seen.all(), ["first begins"]);
    go.add_permits(2);
    until("both are handled", async || Ok(stored(&client).await? == 0)).await?;
    assert_eq!(
        seen.all(),
        ["first begins", "first ends", "second begins", "second ends"]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_pulled_than_there_are_free_slots() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client, go) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Arc::new(Semaphore::new(0)),
    );
    let (now, peak, done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );

    service.bus.ensure(&deployers(LONG)).await?;
    for uid in 0..20 {
        service
            .bus
            .publish(&command(uid), "ns", "name", Trigger::Change)
            .await?;
    }

    let counts = (
        Arc::clone(&now),
        Arc::clone(&peak),
        Arc::clone(&done),
        Arc::clone(&go),
    );

    service.run(3, move |_| {
        let (now, peak, done, go) = counts.clone();
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            go.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
            Outcome::Done
        }
    });

    for round in 1..=6 {
        until("three are under way", async || {
            Ok(now.load(Ordering::SeqCst) == 3)
        })
        .await?;
        assert!(consumer(&client).await?.num_ack_pending <= 3);
        go.add_permits(3);
        until("they are done", async || {
            Ok(done.load(Ordering::SeqCst) >= round * 3)
        })
        .await?;
    }

    go.add_permits(2);
    until("all are handled", async || Ok(stored(&client).await? == 0)).await?;
    assert_eq!(peak.load(Ordering::SeqCst), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_takes_nothing_else_with_it() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client, seen) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Seen::default(),
    );

    service
        .bus
        .ensure(&deployers(Duration::from_secs(1)))
        .await?;

    let handled = seen.clone();
    service.run(1, move |delivery| {
        let times = handled.add(delivery.payload.name.clone());
        async move {
            assert!(delivery.payload.name != "bad" || times > 1, "on purpose");
            Outcome::Done
        }
    });

    service
        .bus
        .publish(&command(1), "ns", "bad", Trigger::Change)
        .await?;
    until("it is tried", async || Ok(seen.all().len() == 1)).await?;
    service
        .bus
        .publish(&command(2), "ns", "good", Trigger::Change)
        .await?;
    until("all are handled", async || Ok(stored(&client).await? == 0)).await?;
    assert_eq!(seen.all(), ["bad", "good", "bad"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_the_trace_to_its_handler() -> Result<()> {
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing_subscriber::registry().with(layer).try_init();
    let nats = Nats::start()?;
    let (service, client, seen) = (
        Service::new(&nats).await?,
        nats.client().await?,
        Seen::default(),
    );
    service.bus.ensure(&deployers(LONG)).await?;
    let handled = seen.clone();
    service.run(1, move |_| {
        let handled = handled.clone();
        async move {
            let context = tracing::Span::current().context();
            handled.add(context.span().span_context().trace_id().to_string());
            Outcome::Done
        }
    });

    service
        .bus
        .publish(&command(1), "ns", "name", Trigger::Change)
        .await?;
    until("it is handled", async || Ok(stored(&client).await? == 0)).await?;
    assert_eq!(seen.all(), [command(1).workspace().simple().to_string()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_progress_are_stored_in_messages_that_fit() -> Result<()> {
    let nats = Nats::start()?;
    let (service, client) = (Service::new(&nats).await?, nats.client().await?);
    service.bus.ensure(&deployers(LONG)).await?;
    let (workspace, uid) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let line = Line {
        text: "x".repeat(10_000),
        ..Line::default()
    };

    let long = Line {
        text: "y".repeat(100_000),
        ..Line::default()
    };

    service
        .bus
        .log(
            &BuildLog {
                workspace,
                build: uid,
            },
            vec![line.clone(), line, long],
        )
        .await?;

    let event = Event {
        workspace,
        service: Word::Builder,
        kind: Kind::Build,
        uid,
    };

    service.bus.progress(&event, &Progress::default()).await?;

    let too_long = Progress {
        message: "z".repeat(20_000),
        ..Progress::default()
    };

    assert!(service.bus.progress(&event, &too_long).await.is_err());
    assert_eq!(
        client
            .get_stream(LOGS.name)
            .await?
            .cached_info()
            .state
            .messages,
        3
    );
    Ok(())
}
