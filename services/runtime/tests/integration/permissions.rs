//! The bus with nothing but the rights that the chart gives: mutual TLS, and the subjects of each
//! service.

use std::sync::Arc;

use anyhow::Result;
use lab::alone::Alone;
use rcgen::{CertificateParams, Issuer, KeyPair};
use sequencer_proto::topics::{Command, Consumer, Pool, Verb};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::Handles;
use sequencer_runtime::bus::{Bus, Delivery, Keep, Outcome};
use uuid::Uuid;

use crate::harness::{LONG, Nats, Seen, args, background, command, deployers, until};

const USERS: &str = r#"
    { user: "watcher", permissions: {
        publish: ["seq.v1.cmd.>", "seq.v1.evt.*.watcher.>", "$JS.API.INFO",
            "$JS.API.STREAM.CREATE.SEQ_CMD", "$JS.API.STREAM.CREATE.SEQ_EVT", "$JS.API.STREAM.CREATE.SEQ_LOG",
            "$JS.API.STREAM.UPDATE.SEQ_CMD", "$JS.API.STREAM.UPDATE.SEQ_EVT", "$JS.API.STREAM.UPDATE.SEQ_LOG",
            "$JS.API.STREAM.INFO.SEQ_CMD", "$JS.API.STREAM.INFO.SEQ_EVT", "$JS.API.STREAM.INFO.SEQ_LOG",
            "$JS.API.CONSUMER.CREATE.SEQ_CMD.>", "$JS.API.CONSUMER.DURABLE.CREATE.SEQ_CMD.>",
            "$JS.API.CONSUMER.INFO.SEQ_CMD.>", "$JS.API.CONSUMER.DELETE.SEQ_CMD.>"],
        subscribe: ["_INBOX_watcher.>"] } }
    { user: "deployer", permissions: {
        publish: ["$JS.API.CONSUMER.INFO.SEQ_CMD.deployer", "$JS.API.CONSUMER.MSG.NEXT.SEQ_CMD.deployer",
            "$JS.ACK.SEQ_CMD.deployer.>", "seq.v1.evt.*.deployer.>"],
        subscribe: ["_INBOX_deployer.>"] } }
    { user: "builder-default", permissions: {
        publish: ["seq.v1.evt.*.builder.>", "$JS.API.CONSUMER.INFO.SEQ_CMD.builder-default",
            "$JS.API.CONSUMER.MSG.NEXT.SEQ_CMD.builder-default", "$JS.ACK.SEQ_CMD.builder-default.>",
            "$JS.API.CONSUMER.INFO.SEQ_CMD.resolver-default", "$JS.API.CONSUMER.MSG.NEXT.SEQ_CMD.resolver-default",
            "$JS.ACK.SEQ_CMD.resolver-default.>", "seq.v1.log.*.*"],
        subscribe: ["_INBOX_builder.>"] } }
"#;

/// Makes a certificate of the test CA for a name.
fn certificate(alone: &Alone, file: &str, name: &str) -> Result<()> {
    let pki = |file: String| alone.folder().join("pki").join(file);
    let authority = KeyPair::from_pem(&std::fs::read_to_string(pki("ca.key".into()))?)?;
    let issuer =
        Issuer::from_ca_cert_pem(&std::fs::read_to_string(pki("ca.crt".into()))?, authority)?;
    let key = KeyPair::generate()?;
    let signed = CertificateParams::new([name.to_owned()])?.signed_by(&key, &issuer)?;
    std::fs::write(pki(format!("{file}.crt")), signed.pem())?;
    std::fs::write(pki(format!("{file}.key")), key.serialize_pem())?;
    Ok(())
}

fn configuration(alone: &Alone) -> Result<String> {
    certificate(alone, "nats", &alone.address.to_string())?;
    for user in ["watcher", "deployer", "builder-default", "stranger"] {
        certificate(alone, user, user)?;
    }
    let pki = alone.folder().join("pki").display().to_string();
    Ok(format!(
        "tls {{ cert_file: \"{pki}/nats.crt\", key_file: \"{pki}/nats.key\", ca_file: \"{pki}/ca.crt\", verify_and_map: true }}\n\
         accounts {{ SEQ {{ jetstream: enabled, users: [{USERS}] }} }}\n"
    ))
}

async fn connect(nats: &Nats, user: &str, handles: &Handles) -> Result<Bus> {
    let pki = nats.alone.folder().join("pki").display().to_string();
    let (ca, certificate, key) = (
        nats.alone.ca(),
        format!("{pki}/{user}.crt"),
        format!("{pki}/{user}.key"),
    );
    let url = nats.url();
    // A user of a pool has the inbox of its service.
    let name = user.split("-default").next().unwrap_or(user);
    let flags = [
        "--nats-url",
        &url,
        "--nats-ca",
        &ca,
        "--nats-cert",
        &certificate,
        "--nats-key",
        &key,
    ];
    Ok(Bus::connect(name, &args(flags), handles).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_gets_by_with_its_own_subjects_and_nobody_elses() -> Result<()> {
    let nats = Nats::configured(configuration)?;
    let (handles, seen) = (Handles::default(), Seen::default());
    let watcher = connect(&nats, "watcher", &handles).await?;
    let deployer = connect(&nats, "deployer", &handles).await?;
    watcher.ensure(&deployers(LONG)).await?;
    watcher.ensure(&deployers(LONG * 2)).await?;
    let (bus, handled) = (deployer.clone(), seen.clone());
    background(async move {
        let handler = move |_| {
            handled.add("handled");
            std::future::ready(Outcome::Done)
        };
        bus.run(&Consumer::deployer(), 1, handler).await;
    });
    watcher
        .publish(&command(1), "ns", "name", Trigger::Change)
        .await?;
    until("it is acknowledged", async || {
        Ok(seen.all().len() == 1 && handles.metrics.text().contains("outcome=\"done\"} 1"))
    })
    .await?;
    assert!(
        deployer
            .publish(&command(2), "ns", "name", Trigger::Change)
            .await
            .is_err()
    );
    assert!(deployer.ensure(&deployers(LONG)).await.is_err());
    assert_eq!(seen.all().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_gets_the_builds_and_look_ups_of_its_own_pool() -> Result<()> {
    let nats = Nats::configured(configuration)?;
    let (handles, seen) = (Handles::default(), Seen::default());
    let watcher = connect(&nats, "watcher", &handles).await?;
    let builder = connect(&nats, "builder-default", &handles).await?;
    let (own, other) = (Pool::default(), "large".parse::<Pool>()?);
    watcher
        .ensure(&Keep {
            consumers: Consumer::all([&own, &other]),
            ack_wait: LONG,
            every: LONG,
        })
        .await?;
    for consumer in [
        Consumer::builder(&own),
        Consumer::resolver(&own),
        Consumer::builder(&other),
    ] {
        let (bus, handled) = (builder.clone(), seen.clone());
        background(async move {
            let handler = move |delivery: Delivery| {
                handled.add(format!(
                    "{} {}",
                    delivery.command.verb(),
                    delivery.payload.name
                ));
                std::future::ready(Outcome::Done)
            };
            bus.run(&consumer, 1, handler).await;
        });
    }
    for (uid, pool) in [&own, &other].into_iter().enumerate() {
        for verb in [Verb::Build, Verb::Resolve] {
            let command = Command::new(
                verb,
                Some(pool.clone()),
                Uuid::from_u128(1),
                Uuid::from_u128(uid as u128),
            )?;
            watcher
                .publish(&command, "ns", pool.as_str(), Trigger::Change)
                .await?;
        }
    }
    until("both are acknowledged", async || {
        Ok(handles
            .metrics
            .text()
            .contains("verb=\"resolve\",outcome=\"done\"} 1"))
    })
    .await?;
    until("both are handled", async || Ok(seen.all().len() == 2)).await?;
    let mut all = seen.all();
    all.sort();
    assert_eq!(all, ["build default", "resolve default"]);
    assert_eq!(handles.readiness.missing(), ["consumer builder-large"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_user_does_not_get_in() -> Result<()> {
    let nats = Arc::new(Nats::configured(configuration)?);
    let handles = Handles::default();
    let (server, theirs) = (Arc::clone(&nats), handles.clone());
    let connecting = background(async move { connect(&server, "stranger", &theirs).await });
    until("NATS refuses it", async || {
        Ok(nats.log()?.contains("authentication error"))
    })
    .await?;
    assert_eq!(handles.readiness.missing(), ["NATS"]);
    handles.shutdown.stop();
    assert!(connecting.await?.is_err());
    Ok(())
}
