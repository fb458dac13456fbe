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

use crate::hands::{section, well};
use crate::life::{plain, sample};
use crate::scene::{Scene, until};

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
    let scene = Scene::with(&[
        "--workspaces-per-namespace=1",
        "--workspace-ttl=1h",
        "--max-ttl=2h",
    ])
    .await?;
    scene.play(well).await?;
    scene.workspace("first", plain()).await?;
    let first = scene.ready("first", "True", "Healthy").await?;
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

    scene.workspace("second", plain()).await?;
    let second = scene
        .ready("second", "False", "WorkspaceQuotaExceeded")
        .await?;
    assert_eq!(code(&second), "E#6063");
    assert_eq!(scene.count::<Component>().await?, 3);
    for component in ["a", "b", "c"] {
        // No garbage collection here.
        let name = scene.component(component).await?.name_any();
        scene
            .all::<Component>()
            .delete(&name, &DeleteParams::default())
            .await?;
    }
    scene
        .all::<Workspace>()
        .delete("first", &DeleteParams::default())
        .await?;
    scene.ready("second", "True", "Healthy").await?;

    let ttl = async |ttl: &str| {
        let spec = Patch::Merge(json!({"spec": {"ttl": ttl}}));
        scene
            .all::<Workspace>()
            .patch("second", &PatchParams::default(), &spec)
            .await
    };
    ttl("3h").await?;
    assert_eq!(
        code(&scene.ready("second", "False", "TtlOutOfRange").await?),
        "E#6064"
    );
    assert!(scene.component("a").await.is_ok());
    ttl("2h").await?;
    scene.ready("second", "True", "Healthy").await?;
    Ok(())
}

/// Takes what is to be built, and does not come to an end.
async fn slow(delivery: Delivery, client: Client) -> Result<()> {
    if delivery.command.verb() != Verb::Build {
        return well(delivery, client).await;
    }
    let api: Api<Build> = Api::namespaced(client, &delivery.wake.namespace);
    let found = current(
        &api,
        &delivery.wake.name,
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

async fn is_claimed(scene: &Scene, part: &str) -> Result<bool> {
    let build = scene.find::<Build>(part).await?;
    Ok(build
        .status
        .is_some_and(|status| status.image.section.claim.is_some()))
}

#[tokio::test]
async fn a_build_over_the_quota_waits_until_another_has_ended() -> Result<()> {
    let scene = Scene::with(&["--builds-per-namespace=1"]).await?;
    scene.play(slow).await?;
    scene.workspace("first", sample()?).await?;
    until("the first is being built", async || {
        is_claimed(&scene, "first-myapp").await
    })
    .await?;
    scene.workspace("second", sample()?).await?;
    until("the second says that it waits", async || {
        let status = scene
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
    scene.resyncs().await;
    assert_eq!(scene.times("build", "second-myapp"), 0);

    let first = scene.find::<Build>("first-myapp").await?;
    let mut image = first.status.clone().context("no status")?.image;
    let rev = image.section.rev;
    image.section = section(State::Completed, first.metadata.generation);
    StatusPatch::new(&first.uid().unwrap_or_default())
        .section("image", rev, &image)?
        .apply(&scene.all::<Build>(), &first.name_any())
        .await?;
    until("the second is being built", async || {
        is_claimed(&scene, "second-myapp").await
    })
    .await
}
