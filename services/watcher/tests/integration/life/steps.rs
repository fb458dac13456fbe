//! The steps to Ready and to the end, and what they cost.

use anyhow::{Context as _, Result, ensure};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use sequencer_api::status::State;
use sequencer_api::status::workspace::Stage;
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use sequencer_runtime::section::StatusPatch;

use super::{plain, sample};
use crate::harness::{Harness, until};
use crate::services::{section, well};

async fn delete(harness: &Harness, name: &str) -> Result<()> {
    harness
        .all::<Workspace>()
        .delete(name, &DeleteParams::default())
        .await?;
    until("the Workspace is gone", async || {
        Ok(harness.all::<Workspace>().get_opt(name).await?.is_none())
    })
    .await
}

#[tokio::test]
async fn the_sample_becomes_ready_step_by_step_and_goes_in_its_order() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("sample", sample()?).await?;
    let ready = harness.ready("sample", "True", "Healthy").await?;
    let status = ready.status.clone().context("no status")?;
    let host = status.host.clone().context("no host")?;
    assert_eq!(status.url, Some(format!("https://{host}")));
    assert_eq!(
        (status.commit.as_deref(), status.components_ready.as_deref()),
        (Some("4f2a91c0d3e8"), Some("3/3"))
    );

    let kinds: Vec<_> = status
        .conditions
        .iter()
        .map(|found| (found.type_.as_str(), found.status.as_str()))
        .collect();
    let wanted =
        ["Components", "Tunnel", "DNS", "Route", "Available", "Ready"].map(|kind| (kind, "True"));
    assert_eq!(kinds, wanted);
    use Stage::{Build, Deploy, Dns, Publish, Queue, Route, Source, Tunnel};
    let stages: Vec<_> = status.timings.iter().map(|timing| timing.stage).collect();
    assert_eq!(
        stages,
        [Source, Queue, Build, Publish, Deploy, Tunnel, Dns, Route]
    );

    assert!(
        status
            .timings
            .iter()
            .all(|timing| timing.completed_at.is_some()),
        "{:?}",
        status.timings
    );

    // Each was notified for what it does, and the application only when both databases were healthy.
    let notified = harness.notified.lock().unwrap().clone();
    let first = |entry: &str| {
        notified
            .iter()
            .position(|found| found.contains(entry))
            .with_context(|| format!("no {entry}: {notified:?}"))
    };

    let order = [
        "resolve sample-click-mania",
        "build sample-myapp",
        "push sample-myapp",
        "deploy sample-click-mania",
        "dns ",
        "probe sample",
    ];
    let order = order.into_iter().map(first).collect::<Result<Vec<_>>>()?;
    assert!(order.is_sorted(), "{notified:?}");
    ensure!(first("deploy sample-mysql")? < first("deploy sample-click")?);

    // Builds belong to their Component, records to the Workspace.
    let build = harness.build().await?;
    assert_eq!(
        build.labels().get(labels::BUILD).map(String::as_str),
        Some("myapp")
    );

    let record: DNSRecord = harness.find(&host).await?;
    assert_eq!(
        (record.spec.target.as_deref(), record.finalizers()),
        (
            Some("6ff42ae2-0000.cfargotunnel.com"),
            &[labels::RECORD_FINALIZER.to_owned()][..]
        )
    );

    delete(&harness, "sample").await?;
    assert_eq!(harness.count::<DNSRecord>().await?, 0);
    let notified = harness.notified.lock().unwrap().clone();
    let last = |entry: &str| notified.iter().rposition(|found| found.starts_with(entry));

    ensure!(
        last("dns ") < last("tunnel "),
        "the tunnel went before the record: {notified:?}"
    );
    Ok(())
}

#[tokio::test]
async fn three_plain_components_cost_the_watcher_few_writes_and_an_idle_one_none() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("plain", plain()).await?;
    let ready = harness.ready("plain", "True", "Healthy").await?;
    // A status says that it is ready, and before that, if it takes longer, that work goes on.
    let rev = ready.status.context("no status")?.rev;
    assert!((1..=3).contains(&rev), "{rev}");
    for name in ["a", "b", "c"] {
        let component = harness.component(name).await?;
        let status = component.status.context("no status")?;
        assert!((1..=2).contains(&status.rev), "{name}: {}", status.rev);
        assert_eq!(status.deploy.section.rev, 1, "{name}");
        assert!(component.metadata.finalizers.is_none());
    }

    // Several resyncs later nothing was written.
    let version = |workspace: Workspace| workspace.resource_version();
    let before = (
        version(harness.all::<Workspace>().get("plain").await?),
        harness.component("a").await?.resource_version(),
    );
    let resyncs = harness.times("deploy", "");
    harness.resyncs().await;

    let after = (
        version(harness.all::<Workspace>().get("plain").await?),
        harness.component("a").await?.resource_version(),
    );
    assert_eq!((before, resyncs), (after, harness.times("deploy", "")));
    Ok(())
}

#[tokio::test]
async fn a_new_commit_is_a_new_build_and_the_old_one_serves_until_it_is_published() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("sample", sample()?).await?;
    harness.ready("sample", "True", "Healthy").await?;
    let click = harness.component("click-mania").await?;
    let api: Api<Component> = harness.all();
    let mut source = click.status.clone().context("no status")?.source;
    let rev = source.section.rev;

    for import in &mut source.imports {
        import.commit = "9c1b0de41f779c1b0de41f779c1b0de41f779c1b".into();
    }

    source.section = section(State::Completed, click.metadata.generation);
    StatusPatch::new(&click.uid().unwrap_or_default())
        .section("source", rev, &source)?
        .apply(&api, &click.name_any())
        .await?;

    until("the new Build is published", async || {
        let builds = harness
            .all::<Build>()
            .list(&ListParams::default())
            .await?
            .items;
        let published = |build: &&Build| {
            build
                .status
                .as_ref()
                .is_some_and(|status| status.publish.image.is_some())
        };

        Ok(builds.len() == 2 && builds.iter().filter(published).count() == 2)
    })
    .await?;
    until("the component runs it", async || {
        let status = harness
            .component("click-mania")
            .await?
            .status
            .context("no status")?;
        Ok(status.deploy.build.is_some() && status.deploy.build == status.latest_build)
    })
    .await?;
    until("the URL was asked for the new commit", async || {
        let status = harness.all::<Workspace>().get("sample").await?.status;
        let status = status.context("no status")?;
        Ok(
            status.commit.as_deref() == Some("9c1b0de41f77")
                && status.route.commit == status.commit,
        )
    })
    .await?;
    harness.ready("sample", "True", "Healthy").await?;
    Ok(())
}
