//! What Events people get, on what, and how often.

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::status::{Failure, State};
use sequencer_api::{Build, Component, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;
use serde_json::{Value, json};

use crate::harness::{Harness, until};
use crate::life::{plain, sample};
use crate::services::{section, well};

/// Deploys `a` and `b` badly, each in its own way.
async fn badly(delivery: Delivery, client: Client) -> Result<()> {
    let code = match (delivery.command.verb(), delivery.payload.name.as_str()) {
        (Verb::Deploy, name) if name.starts_with("plain-a") => Code::ImagePullFailed,
        (Verb::Deploy, name) if name.starts_with("plain-b") => Code::CrashLoop,
        _ => return well(delivery, client).await,
    };

    let api: Api<Component> = Api::namespaced(client, &delivery.payload.namespace);
    let found = current(
        &api,
        &delivery.payload.name,
        &delivery.command.uid().to_string(),
    )
    .await?
    .context("gone")?;
    let mut deploy = found.status.clone().unwrap_or_default().deploy;
    if deploy.failure.is_some() {
        return Ok(());
    }

    let rev = deploy.section.rev;
    deploy.section = section(State::Error, found.metadata.generation);
    deploy.failure = Some(Failure::new(code, "does not run"));
    StatusPatch::new(&found.uid().unwrap_or_default())
        .section("deploy", rev, &deploy)?
        .apply(&api, &found.name_any())
        .await?;
    Ok(())
}

/// Builds nothing, and resolves once.
async fn idly(delivery: Delivery, client: Client) -> Result<()> {
    if delivery.command.verb() == Verb::Build {
        bail!("busy");
    }

    if delivery.command.verb() == Verb::Resolve {
        let api: Api<Component> = Api::namespaced(client.clone(), &delivery.payload.namespace);
        let found = current(
            &api,
            &delivery.payload.name,
            &delivery.command.uid().to_string(),
        )
        .await?
        .context("gone")?;
        // The test moves the branch.
        if found
            .status
            .is_some_and(|status| status.source.section.rev > 0)
        {
            return Ok(());
        }
    }

    well(delivery, client).await
}

#[tokio::test]
async fn what_is_wrong_with_a_component_is_told_on_it_and_on_its_workspace_once_for_each_code()
-> Result<()> {
    let harness = Harness::new().await?;
    harness.play(badly).await?;
    harness.workspace("plain", plain()).await?;
    harness.ready("plain", "False", "ImagePullFailed").await?;
    until("both are published", async || {
        Ok(harness.events("Workspace", "plain").await?.len() >= 2)
    })
    .await?;
    harness.resyncs().await;
    let published = harness.events("Workspace", "plain").await?;
    let code = |note: &str| note.split(' ').next().unwrap_or_default().to_owned();
    let mut codes: Vec<_> = published
        .iter()
        .map(|(reason, note)| (reason.as_str(), code(note)))
        .collect();
    codes.sort();
    assert_eq!(
        codes,
        [
            ("CrashLoop", "E#2005".into()),
            ("ImagePullFailed", "E#2020".into())
        ]
    );

    for (name, wanted) in [("a", "E#2020"), ("b", "E#2005")] {
        let published = harness
            .events("Component", &harness.component(name).await?.name_any())
            .await?;
        assert_eq!(
            published
                .iter()
                .map(|(_, note)| code(note))
                .collect::<Vec<_>>(),
            [wanted]
        );
    }

    Ok(())
}

#[tokio::test]
async fn a_build_that_a_newer_commit_overtakes_is_told_as_superseded() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(idly).await?;
    harness.workspace("sample", sample()?).await?;
    until("its Build is there", async || {
        Ok(harness.count::<Build>().await? == 1)
    })
    .await?;

    let click = harness.component("click-mania").await?;
    let mut source = click.status.clone().context("no status")?.source;
    let rev = source.section.rev;

    for import in &mut source.imports {
        import.commit = "9c1b0de41f779c1b0de41f779c1b0de41f779c1b".into();
    }

    StatusPatch::new(&click.uid().unwrap_or_default())
        .section("source", rev, &source)?
        .apply(&harness.all::<Component>(), &click.name_any())
        .await?;

    until("all is published", async || {
        Ok(harness.events("Workspace", "sample").await?.len() >= 3)
    })
    .await?;

    let reasons: Vec<_> = harness
        .events("Workspace", "sample")
        .await?
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    let count = |wanted: &str| reasons.iter().filter(|reason| *reason == wanted).count();

    assert_eq!(
        (count("Building"), count("Superseded"), reasons.len()),
        (2, 1, 3),
        "{reasons:?}"
    );
    Ok(())
}

async fn expires_in(harness: &Harness, seconds: i64) -> Result<()> {
    let at = Time(Timestamp::now() + SignedDuration::from_secs(seconds));
    let patch = Patch::Merge(json!({"status": {"expiresAt": at, "ttlEndsAt": at}}));
    harness
        .all::<Workspace>()
        .patch_status("sample", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_end_by_ttl_is_told_once_before_it_and_once_when_nothing_is_left() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    let mut spec = sample()?;
    spec.as_object_mut()
        .context("no object")?
        .insert("ttl".into(), Value::from("1h"));
    harness.workspace("sample", spec).await?;
    harness.ready("sample", "True", "Healthy").await?;

    let reasons = async || -> Result<Vec<String>> {
        Ok(harness
            .events("Workspace", "sample")
            .await?
            .into_iter()
            .map(|(reason, _)| reason)
            .collect())
    };

    until("it is published as ready", async || {
        Ok(reasons().await?.len() >= 2)
    })
    .await?;
    assert_eq!(reasons().await?, ["Building", "Ready"]);
    expires_in(&harness, 14 * 60).await?;
    until("it is published", async || {
        Ok(reasons().await?.contains(&"Expiring".to_owned()))
    })
    .await?;
    harness.resyncs().await;
    assert_eq!(reasons().await?, ["Building", "Ready", "Expiring"]);
    expires_in(&harness, -1).await?;
    until("it is gone", async || {
        Ok(harness
            .all::<Workspace>()
            .get_opt("sample")
            .await?
            .is_none())
    })
    .await?;
    until(
        "that is published",
        async || Ok(reasons().await?.len() >= 4),
    )
    .await?;

    assert_eq!(
        reasons().await?,
        ["Building", "Ready", "Expiring", "Deleted"]
    );
    Ok(())
}
