//! Two commits that are built while a registry refuses them both: the older one never takes the
//! newer one's place.

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::labels::SUPERSEDED_BY;
use sequencer_api::status::{Retry, State};
use sequencer_api::{Build, Component, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;
use serde_json::{Value, json};

use crate::harness::{Harness, until};
use crate::life::sample;
use crate::services::{section, well};

const OLDER: &str = "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a";
const NEWER: &str = "9c1b0de41f779c1b0de41f779c1b0de41f779c1b";

/// The registry takes nothing; what is superseded is taken back as the pusher does.
async fn refused(delivery: Delivery, client: Client) -> Result<()> {
    if delivery.command.verb() != Verb::Push {
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
    let mut publish = found.status.clone().unwrap_or_default().publish;
    let rev = publish.section.rev;
    let retry = Retry {
        attempts: 1,
        since: None,
        next_attempt_at: Some(Time(Timestamp::now() + SignedDuration::from_hours(1))),
        code: Code::CredentialsRefused,
        message: "refused".into(),
        secret_versions: [("n/s".to_owned(), "1".to_owned())].into(),
    };

    let state = if found.is_superseded() {
        State::Waiting
    } else {
        State::Error
    };

    publish.section = section(state, found.metadata.generation);
    publish.section.retry = (!found.is_superseded()).then_some(retry);
    StatusPatch::new(&found.uid().unwrap_or_default())
        .section("publish", rev, &publish)?
        .apply(&api, &found.name_any())
        .await?;
    Ok(())
}

/// Pins the application to a commit, as a user does who rolls back.
async fn pin(harness: &Harness, commit: &str) -> Result<()> {
    let api = harness.all::<Workspace>();
    let mut spec = serde_json::to_value(api.get("sample").await?.spec)?;
    let components = spec
        .get_mut("components")
        .and_then(Value::as_array_mut)
        .context("no components")?;
    let git = components
        .iter_mut()
        .find_map(|one| one.pointer_mut("/build/importContent/0/contentFrom/git"));

    git.and_then(Value::as_object_mut)
        .context("no git")?
        .insert("commit".into(), commit.into());

    api.patch(
        "sample",
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": spec})),
    )
    .await?;
    Ok(())
}

/// The Build of a commit.
async fn of(harness: &Harness, commit: &str) -> Result<Build> {
    let all = harness
        .all::<Build>()
        .list(&ListParams::default())
        .await?
        .items;
    let has = |build: &Build| {
        let git = build
            .spec
            .import_content
            .first()
            .and_then(|import| import.content_from.git.as_ref());
        git.is_some_and(|git| git.commit.as_deref() == Some(commit))
    };

    all.into_iter()
        .find(has)
        .with_context(|| format!("no Build of {commit}"))
}

async fn ready(harness: &Harness, commit: &str, reason: &str) -> Result<Build> {
    until(&format!("{commit} is {reason}"), async || {
        let status = of(harness, commit).await?.status.context("no status")?;
        let ready = status
            .conditions
            .into_iter()
            .find(|found| found.type_ == "Ready")
            .context("no Ready")?;
        ensure!(ready.reason == reason, "{ready:?}");
        Ok(true)
    })
    .await?;
    of(harness, commit).await
}

#[tokio::test]
async fn a_build_that_is_built_and_not_published_is_superseded_until_it_is_wanted_again()
-> Result<()> {
    let harness = Harness::new().await?;
    harness.play(refused).await?;
    harness.workspace("sample", sample()?).await?;
    ready(&harness, OLDER, "CredentialsRefused").await?;
    pin(&harness, NEWER).await?;
    let older = ready(&harness, OLDER, "Superseded").await?;
    let newer = of(&harness, NEWER).await?;

    assert_eq!(
        older.annotations().get(SUPERSEDED_BY),
        newer.metadata.name.as_ref()
    );

    until("nothing of it is tried again", async || {
        Ok(of(&harness, OLDER)
            .await?
            .status
            .context("no status")?
            .publish
            .section
            .retry
            .is_none())
    })
    .await?;

    // It is notified no more, also when what is unfinished would be.
    let notified = harness.times("push", &older.name_any());
    harness.resyncs().await;
    assert_eq!(harness.times("push", &older.name_any()), notified);

    pin(&harness, OLDER).await?;
    let newer = ready(&harness, NEWER, "Superseded").await?;
    assert_eq!(
        newer.annotations().get(SUPERSEDED_BY),
        older.metadata.name.as_ref()
    );

    until("the older one is pushed again", async || {
        Ok(harness.times("push", &older.name_any()) > notified)
    })
    .await?;

    ensure!(
        !of(&harness, OLDER)
            .await?
            .annotations()
            .contains_key(SUPERSEDED_BY)
    );

    until("its Component wants it", async || {
        let click: Component = harness.component("click-mania").await?;
        Ok(click.status.context("no status")?.latest_build == older.metadata.name)
    })
    .await
}
