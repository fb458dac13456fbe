//! Builds whose place another took: they move no tag.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use sequencer_api::Build;
use sequencer_api::code::Code;
use sequencer_api::labels::SUPERSEDED_BY;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, LASTING, handle, until};
use crate::stage::USER;

/// Marks a Build as the watcher does, or takes its mark away.
async fn mark(harness: &Harness, build: &Build, by: &Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {SUPERSEDED_BY: by}}}));
    harness
        .builds
        .patch(&build.name_any(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_failed_is_not_tried_again_until_it_is_wanted_again() -> Result<()> {
    let mut harness = Harness::new().await?;
    let (own, staged, build) = harness.entry_with_build(2, 1000).await?;
    harness.secret("own", USER, "wrong").await?;
    let service = harness.service("a", &[])?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Recorded
    );
    assert_eq!(
        harness
            .publish(&build)
            .await?
            .section
            .retry
            .map(|retry| retry.code),
        Some(Code::CredentialsRefused)
    );

    mark(&harness, &build, &json!("newer")).await?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );
    let section = harness.publish(&build).await?.section;
    assert_eq!(
        (section.state, section.retry, section.claim),
        (Some(State::Waiting), None, None)
    );
    // Its login is good now, and a person asks for it: its tags stay where they are.
    harness.secret("own", USER, &harness.password).await?;
    let before = own.requests()?;
    assert_eq!(
        handle(&service, &build, Trigger::Retry).await?,
        Outcome::Stale
    );
    assert_eq!(own.requests()?, before);

    mark(&harness, &build, &Value::Null).await?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(
        harness.publish(&build).await?.section.state,
        Some(State::Completed)
    );
    harness.check(&format!("{}/app", own.address), &["dev", LASTING], &staged)?;

    // What is published stays so, whatever mark comes too late.
    mark(&harness, &build, &json!("newer")).await?;
    assert_eq!(
        handle(&service, &build, Trigger::Retry).await?,
        Outcome::Done
    );
    assert_eq!(
        harness.publish(&build).await?.section.state,
        Some(State::Completed)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_overtaken_while_its_layers_are_sent_leaves_the_tags_alone() -> Result<()> {
    let mut harness = Harness::new().await?;
    let (own, staged, build) = harness.entry_with_build(40, 200_000).await?;
    let service = harness.service("a", &["--layers=1"])?;
    let mut work = Box::pin(handle(&service, &build, Trigger::Change));
    let overtaken = async {
        until("some layers are there", async || {
            Ok(own.has(&staged.blobs) > 3)
        })
        .await?;
        mark(&harness, &build, &json!("newer")).await
    };
    tokio::select! {
        done = &mut work => anyhow::bail!("it was over too soon: {done:?}"),
        overtaken = overtaken => overtaken?,
    }
    assert_eq!(work.await?, Outcome::Done);
    let publish = harness.publish(&build).await?;
    assert_eq!(
        (publish.section.state, &publish.section.retry),
        (Some(State::Waiting), &None)
    );
    ensure!(
        publish.image.is_none() && publish.registries.is_empty(),
        "{publish:?}"
    );
    // All of it was sent, and its two children are there by their digests; no tag is.
    assert_eq!(own.has(&staged.blobs), staged.blobs.len());
    assert_eq!(own.took("PUT /v2/app/manifests/")?, 2);
    assert_eq!(own.took("PUT /v2/app/manifests/dev")?, 0);

    // Wanted again, it is published; only what is missing is sent.
    let blobs = own.took("PUT /v2/app/blobs/")?;
    mark(&harness, &build, &Value::Null).await?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(own.took("PUT /v2/app/blobs/")?, blobs);
    harness.check(&format!("{}/app", own.address), &["dev", LASTING], &staged)?;
    let image = harness.publish(&build).await?.image.context("no image")?;
    ensure!(image.ends_with(staged.digest.as_str()), "{image}");
    Ok(())
}
