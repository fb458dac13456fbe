//! What becomes of a staged image.

use anyhow::{Context as _, Result};
use lab::parts::registry::{COMPANY_USER, HUB_USER, login};
use sequencer_api::status::State;
use sequencer_proto::topics::Consumer;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::Handles;
use sequencer_runtime::bus::{Bus, Keep, Outcome};
use serde_json::json;

use crate::harness::{Harness, LASTING, NAMESPACE, delivery, handle, until};
use crate::stage::USER;

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_published_to_docker_hub_a_company_and_an_own_registry_at_once() -> Result<()> {
    let mut harness = Harness::new().await?;
    let own = harness.own("own", 5001)?;
    let hub = login(
        "https://index.docker.io/v1/",
        HUB_USER,
        &harness.cluster.hub_password,
    );
    harness
        .secret_of("dockerhub-credentials", &json!({".dockerconfigjson": hub}))
        .await?;
    harness
        .secret("company", COMPANY_USER, &harness.cluster.registry_password)
        .await?;
    harness
        .secret_of("own", &json!({"username": USER, "token": harness.password}))
        .await?;
    let staged = harness.stage(3, 50_000).await?;
    let (hub, company) = (
        format!("myuser/pusher-{}", harness.id),
        format!("registry.test/pusher-{}/app", harness.id),
    );
    let third = format!("{}/team/app", own.address);
    let credentials =
        |scheme: &str, name: &str| json!({"authScheme": scheme, "secretRef": {"name": name}});
    let registries = json!([
        {"url": hub, "tags": ["dev"], "credentials": credentials("keyPair", "dockerhub-credentials")},
        {"url": company, "tags": ["dev", "pr-1"], "credentials": credentials("keyPair", "company")},
        {"url": third, "tags": ["dev"], "credentials": credentials("token", "own")},
    ]);
    let build = harness.build(&staged.digest, &registries).await?;

    let service = harness.service("a", &[])?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );
    let publish = harness.publish(&build).await?;
    assert_eq!(publish.section.state, Some(State::Completed), "{publish:?}");
    assert_eq!(
        publish.image,
        Some(format!("docker.io/{hub}@{}", staged.digest))
    );
    assert_eq!(
        (
            publish.section.claim,
            publish.section.retry,
            publish.section.observed_generation
        ),
        (None, None, Some(1))
    );
    assert_eq!(
        publish.section.rev, 1,
        "what is over at once is written once"
    );
    for (entry, repository) in
        publish
            .registries
            .iter()
            .zip([format!("docker.io/{hub}"), company.clone(), third.clone()])
    {
        assert_eq!(
            (entry.state, entry.repository.as_ref()),
            (State::Completed, Some(&repository))
        );
        assert_eq!(entry.digest.as_deref(), Some(staged.digest.as_str()));
        assert!(
            entry.bytes.is_some_and(|bytes| bytes >= 200_000) && entry.completed_at.is_some(),
            "{entry:?}"
        );
        assert!(entry.tags.iter().any(|tag| tag == LASTING), "{entry:?}");
    }
    harness.check(&format!("docker.io/{hub}"), &["dev", LASTING], &staged)?;
    harness.check(&company, &["dev", "pr-1", LASTING], &staged)?;
    harness.check(&third, &["dev", LASTING], &staged)?;

    // A second message reads the Build, and nothing more.
    let before = own.requests()?;
    assert_eq!(
        handle(&service, &build, Trigger::Retry).await?,
        Outcome::Done
    );
    assert_eq!(
        (own.requests()?, harness.publish(&build).await?.section.rev),
        (before, publish.section.rev)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_moves_as_docker_push_moves_it_and_the_digest_before_keeps_its_own() -> Result<()> {
    let mut harness = Harness::new().await?;
    let (own, registries) = harness.entry().await?;
    let url = format!("{}/app", own.address);
    let service = harness.service("a", &[])?;

    let first = harness.stage(1, 10_000).await?;
    let build = harness.build(&first.digest, &registries).await?;

    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );

    let name = build.metadata.name.clone().context("no name")?;
    harness
        .builds
        .delete(&name, &kube::api::DeleteParams::default())
        .await?;

    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Gone
    );

    // Everything there is there already: nothing is sent, and nothing is written there again.
    let puts = own.took("PUT /v2/app/")?;
    let again = harness.build(&first.digest, &registries).await?;

    assert_eq!(
        handle(&service, &again, Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(own.took("PUT /v2/app/")?, puts);
    assert_eq!(harness.publish(&again).await?.registries[0].bytes, Some(0));
    harness
        .builds
        .delete(&name, &kube::api::DeleteParams::default())
        .await?;

    let second = harness.stage(1, 10_000).await?;
    let next = harness.build(&second.digest, &registries).await?;

    assert_eq!(
        handle(&service, &next, Trigger::Change).await?,
        Outcome::Done
    );
    harness.check(&url, &["dev", LASTING], &second)?;
    // By its digest the first one is still there.
    harness.check(&url, &[], &first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_the_bus_publishes() -> Result<()> {
    let mut harness = Harness::new().await?;
    let (_own, _staged, build) = harness.entry_with_build(1, 1000).await?;

    let args = <sequencer_registry_pusher::args::Args as clap::Parser>::try_parse_from([
        "x",
        "--pod=a",
        "--staging-url=http://x:1",
        &format!("--nats-url={}", harness.alone.nats()?),
    ])?;
    let bus = Bus::connect("registry-pusher", &args.shared, &Handles::default()).await?;
    let keep = Keep {
        consumers: vec![Consumer::registry_pusher()],
        ack_wait: args.shared.periods.ack_wait,
        every: args.shared.periods.ack_wait,
    };
    let service = harness.service("a", &[])?;
    let handler = move |delivery| {
        let service = service.clone();
        async move { service.handle(delivery).await }
    };
    let delivery = delivery(&build, Trigger::Change)?;
    let name = &delivery.payload.name;
    let done = async {
        until("the stream is there", async || {
            Ok(bus
                .publish(&delivery.command, NAMESPACE, name, Trigger::Change)
                .await
                .is_ok())
        })
        .await?;
        until("it is published", async || {
            Ok(harness.publish(&build).await?.section.state == Some(State::Completed))
        })
        .await
    };
    let consumer = Consumer::registry_pusher();
    tokio::select! {
        done = done => done?,
        () = bus.run(&consumer, 2, handler) => anyhow::bail!("it ended"),
        () = bus.keep(keep, || ()) => anyhow::bail!("it ended"),
    }
    Ok(())
}
