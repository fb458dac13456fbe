//! What is lost or changed by hand comes again: objects, the watcher itself, the bus.

use anyhow::{Context as _, Result};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use serde_json::json;

use super::{plain, sample};
use crate::harness::{Harness, until};
use crate::services::well;

#[tokio::test]
async fn a_component_that_is_deleted_or_changed_by_hand_is_as_its_workspace_wants_it_again()
-> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("plain", plain()).await?;
    harness.ready("plain", "True", "Healthy").await?;
    let first = harness.component("a").await?;
    harness
        .all::<Component>()
        .delete(&first.name_any(), &DeleteParams::default())
        .await?;

    until("it is made again", async || {
        Ok(harness.component("a").await?.uid() != first.uid())
    })
    .await?;

    let replicas = Patch::Merge(json!({"spec": {"replicas": 4}}));
    harness
        .all::<Component>()
        .patch(&first.name_any(), &PatchParams::default(), &replicas)
        .await?;

    until("it has one replica again", async || {
        Ok(harness.component("a").await?.spec.template.replicas == 1)
    })
    .await?;

    // What the spec lists no more goes; what it changes, changes.
    let two = plain()
        .pointer("/components/0")
        .cloned()
        .context("no component")?;
    let spec = Patch::Merge(json!({"spec": {"components": [two]}}));

    harness
        .all::<Workspace>()
        .patch("plain", &PatchParams::default(), &spec)
        .await?;

    until("one is left", async || {
        Ok(harness.count::<Component>().await? == 1)
    })
    .await?;
    harness.ready("plain", "True", "Healthy").await?;
    Ok(())
}

/// Whether a Workspace is so far.
async fn stage(harness: &Harness, name: &str) -> Result<bool> {
    Ok(match name {
        "made" => harness.find::<Component>("made-").await.is_ok(),
        "built" => harness.find::<Build>("built-").await.is_ok_and(|build| {
            build
                .status
                .is_some_and(|status| status.image.section.rev > 0)
        }),
        "tunnel" => harness
            .all::<Workspace>()
            .get(name)
            .await?
            .status
            .is_some_and(|status| status.tunnel.section.rev > 0),
        _ => harness.find::<DNSRecord>("record-").await.is_ok(),
    })
}

#[tokio::test]
async fn a_watcher_that_is_killed_at_any_moment_and_a_bus_that_is_wiped_cost_only_time()
-> Result<()> {
    let mut harness = Harness::new().await?;
    harness.play(well).await?;
    for (name, wipe) in [
        ("made", false),
        ("built", true),
        ("tunnel", false),
        ("record", true),
    ] {
        harness.workspace(name, sample()?).await?;
        until(&format!("{name} is there"), async || {
            stage(&harness, name).await
        })
        .await?;
        harness.kill()?;
        if wipe {
            let context = async_nats::jetstream::new(async_nats::connect(&harness.nats).await?);
            for stream in ["SEQ_CMD", "SEQ_EVT", "SEQ_LOG"] {
                context.delete_stream(stream).await?;
            }
        }
        harness.start()?;
        harness.ready(name, "True", "Healthy").await?;
    }

    assert_eq!(
        (
            harness.count::<Component>().await?,
            harness.count::<Build>().await?,
            harness.count::<DNSRecord>().await?
        ),
        (12, 4, 4)
    );

    for name in ["made", "built", "tunnel", "record"] {
        harness
            .all::<Workspace>()
            .delete(name, &DeleteParams::default())
            .await?;
    }

    let going = async || {
        let records = harness
            .all::<DNSRecord>()
            .list(&ListParams::default())
            .await?;
        Ok(records
            .items
            .iter()
            .any(|record| record.metadata.deletion_timestamp.is_some()))
    };

    until("a record goes", going).await?;
    harness.kill()?;
    harness.start()?;
    until("all are gone", async || {
        Ok(harness.count::<Workspace>().await? + harness.count::<DNSRecord>().await? == 0)
    })
    .await
}
