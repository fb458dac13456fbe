//! What the operator allows: how many, and how long.

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::status::{Claim, State};
use sequencer_api::{Build, Component, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;
use serde_json::json;

use crate::harness::{Harness, until};
use crate::life::{plain, sample};
use crate::services::{section, well};

/// The code in `Ready`.
fn code(workspace: &Workspace) -> String {
    let ready = workspace
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|found| found.type_ == "Ready");
    ready
        .and_then(|ready| ready.message.split(' ').next())
        .unwrap_or_default()
        .into()
}

#[tokio::test]
async fn a_workspace_over_the_quota_is_made_when_another_goes_and_one_over_the_longest_ttl_loses_nothing()
-> Result<()> {
    let harness = Harness::with(&[
        "--workspaces-per-namespace=1",
        "--workspace-ttl=1h",
        "--max-ttl=2h",
    ])
    .await?;
    harness.play(well).await?;
    harness.workspace("first", plain()).await?;
    let first = harness.ready("first", "True", "Healthy").await?;
    let expires = first
        .status
        .and_then(|status| status.expires_at)
        .context("no end")?
        .0;
    let hour = Timestamp::now() + SignedDuration::from_hours(1);

    ensure!(
        expires <= hour && expires > hour - SignedDuration::from_mins(1),
        "{expires}"
    );

    harness.workspace("second", plain()).await?;

    let second = harness
        .ready("second", "False", "WorkspaceQuotaExceeded")
        .await?;
    assert_eq!(code(&second), "E#6063");
    assert_eq!(harness.count::<Component>().await?, 3);
    for component in ["a", "b", "c"] {
        // No garbage collection here.
        let name = harness.component(component).await?.name_any();
        harness
            .all::<Component>()
            .delete(&name, &DeleteParams::default())
            .await?;
    }

    harness
        .all::<Workspace>()
        .delete("first", &DeleteParams::default())
        .await?;
    harness.ready("second", "True", "Healthy").await?;

    let ttl = async |ttl: &str| {
        let spec = Patch::Merge(json!({"spec": {"ttl": ttl}}));
        harness
            .all::<Workspace>()
            .patch("second", &PatchParams::default(), &spec)
            .await
    };

    ttl("3h").await?;
    assert_eq!(
        code(&harness.ready("second", "False", "TtlOutOfRange").await?),
        "E#6064"
    );
    assert!(harness.component("a").await.is_ok());
    ttl("2h").await?;
    harness.ready("second", "True", "Healthy").await?;
    Ok(())
}

/// Takes what is to be built, and does not come to an end.
async fn slow(delivery: Delivery, client: Client) -> Result<()> {
    if delivery.command.verb() != Verb::Build {
        return well(delivery, client).await;
    }

    let api: Api<Build> = Api::namespaced(client, &delivery.payload.namespace);
    let found = current(
        &api,
        &delivery.payload.name,
        &delivery.command.uid().to_string(),
    )
    .await?
    .context("gone")?;
    let mut image = found.status.clone().unwrap_or_default().image;
    let until = Time(Timestamp::now() + SignedDuration::from_mins(2));
    let rev = image.section.rev;

    image.section = section(State::InProgress, found.metadata.generation);
    image.section.claim = Some(Claim {
        holder: "builder-0/1".into(),
        until,
        attempts: 1,
    });

    let patch = StatusPatch::new(&found.uid().unwrap_or_default()).section("image", rev, &image)?;
    patch.apply(&api, &found.name_any()).await?;
    Ok(())
}

async fn is_claimed(harness: &Harness, part: &str) -> Result<bool> {
    let build = harness.find::<Build>(part).await?;
    Ok(build
        .status
        .is_some_and(|status| status.image.section.claim.is_some()))
}

#[tokio::test]
async fn a_build_over_the_quota_waits_until_another_has_ended() -> Result<()> {
    let harness = Harness::with(&["--builds-per-namespace=1"]).await?;
    harness.play(slow).await?;
    harness.workspace("first", sample()?).await?;
    until("the first is being built", async || {
        is_claimed(&harness, "first-myapp").await
    })
    .await?;
    harness.workspace("second", sample()?).await?;
    until("the second says that it waits", async || {
        let status = harness
            .find::<Build>("second-myapp")
            .await?
            .status
            .context("no status")?;
        let image = status
            .conditions
            .iter()
            .find(|found| found.type_ == "Image")
            .context("no Image")?;
        Ok(image.reason == "Waiting")
    })
    .await?;
    harness.resyncs().await;
    assert_eq!(harness.times("build", "second-myapp"), 0);

    let first = harness.find::<Build>("first-myapp").await?;
    let mut image = first.status.clone().context("no status")?.image;
    let rev = image.section.rev;

    image.section = section(State::Completed, first.metadata.generation);
    StatusPatch::new(&first.uid().unwrap_or_default())
        .section("image", rev, &image)?
        .apply(&harness.all::<Build>(), &first.name_any())
        .await?;

    until("the second is being built", async || {
        is_claimed(&harness, "second-myapp").await
    })
    .await
}
