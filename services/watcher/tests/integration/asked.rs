//! What people ask to be tried again is tried once, whatever becomes of the watcher.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::labels::RETRY;
use sequencer_api::status::{Retry, Section, State};
use sequencer_api::{Build, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;
use serde_json::json;

use crate::harness::{Harness, until};
use crate::life::sample;
use crate::services::{section, well};

/// A step of each build fails, as it will until its author mends it.
async fn fails(delivery: Delivery, client: Client) -> Result<()> {
    if delivery.command.verb() != Verb::Build {
        return well(delivery, client).await;
    }

    let payload = &delivery.payload;
    let api: Api<Build> = Api::namespaced(client, &payload.namespace);
    let found = current(&api, &payload.name, &payload.uid).await?;
    let found = found.context("gone")?;
    let mut image = found.status.clone().unwrap_or_default().image;
    let rev = image.section.rev;

    image.section = Section {
        asked: Some(payload.asked.clone()).filter(|asked| !asked.is_empty()),
        retry: Some(Retry {
            attempts: 1,
            since: None,
            next_attempt_at: None,
            code: Code::StepFailed,
            message: "exit code 1".into(),
            secret_versions: [].into(),
        }),
        ..section(State::Error, found.metadata.generation)
    };

    StatusPatch::new(&payload.uid)
        .section("image", rev, &image)?
        .apply(&api, &found.name_any())
        .await?;
    Ok(())
}

async fn ask(harness: &Harness, word: &str) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {RETRY: word}}});
    let api = harness.all::<Workspace>();
    api.patch("sample", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Waits until it was built so often, and sees that it is not built more often.
async fn built(harness: &Harness, times: usize) -> Result<()> {
    until(&format!("it is built {times} times"), async || {
        Ok(harness.times("build", "") >= times)
    })
    .await?;
    harness.resyncs().await;
    let built = harness.times("build", "");
    ensure!(built == times, "it was built {built} times, not {times}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_is_built_again_once_for_each_time_that_somebody_asks() -> Result<()> {
    let mut harness = Harness::new().await?;
    harness.play(fails).await?;
    harness.workspace("sample", sample()?).await?;
    harness.ready("sample", "False", "StepFailed").await?;
    built(&harness, 1).await?;

    ask(&harness, "1").await?;
    built(&harness, 2).await?;

    // Another watcher knows what was tried, and what was asked while nobody looked.
    harness.kill()?;
    harness.start()?;
    built(&harness, 2).await?;

    harness.kill()?;
    ask(&harness, "2").await?;
    harness.start()?;
    built(&harness, 3).await
}
