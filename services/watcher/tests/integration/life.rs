//! From `kubectl apply` to Ready, and to the end.

use anyhow::{Context as _, Result, ensure};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use sequencer_api::status::State;
use sequencer_api::status::workspace::Stage;
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use sequencer_runtime::section::StatusPatch;
use serde_json::{Value, json};

use crate::harness::{Harness, NAMESPACE, until};
use crate::services::{section, well};

/// The sample, in the zone that the test's provider has.
pub(crate) fn sample() -> Result<Value> {
    let text = include_str!("../../../api/samples/workspace.yaml")
        .replace("$(YOUR_ACCOUNT_ID)", &"0".repeat(32))
        .replace("yourdomain.com", "preview.test");
    let object: Value = serde_yaml::from_str(&text)?;
    object.get("spec").cloned().context("no spec")
}

/// Three components that need neither build nor network.
pub(crate) fn plain() -> Value {
    let component = |name: &str, port: i32| {
        json!({
            "name": name, "networks": [{"name": "tcp", "port": port}],
            "template": {"containers": [{"name": name, "image": "redis:latest", "ports": [{"containerPort": port}]}]},
        })
    };
    json!({"components": [component("a", 1), component("b", 2), component("c", 3)]})
}

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

#[tokio::test]
async fn a_circle_and_a_zone_of_nobody_are_errors_that_heal() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    let mut circle = plain();

    for (index, on) in [(0, "b"), (1, "a")] {
        let component = circle
            .pointer_mut(&format!("/components/{index}"))
            .context("no component")?;
        component
            .as_object_mut()
            .context("no object")?
            .insert("dependsOn".into(), json!([{"componentName": on}]));
    }

    harness.workspace("circle", circle).await?;
    let found = harness.ready("circle", "False", "DependencyCycle").await?;
    let message = |workspace: &Workspace, kind: &str| {
        let found = workspace
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .find(|found| found.type_ == kind);
        found.map(|found| found.message.clone()).unwrap_or_default()
    };

    assert!(
        message(&found, "Ready").starts_with("E#6010 "),
        "{}",
        message(&found, "Ready")
    );
    assert!(
        found
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .any(|found| found.type_ == "Stalled")
    );
    assert_eq!(harness.count::<Component>().await?, 0);
    let healed = Patch::Merge(json!({"spec": plain()}));
    harness
        .all::<Workspace>()
        .patch("circle", &PatchParams::default(), &healed)
        .await?;
    harness.ready("circle", "True", "Healthy").await?;

    let mut elsewhere = sample()?;
    *elsewhere
        .pointer_mut("/networking/dns/zone")
        .context("no zone")? = "elsewhere.test".into();
    harness.workspace("elsewhere", elsewhere).await?;

    let found = harness
        .ready("elsewhere", "False", "ZoneNotGranted")
        .await?;

    assert!(
        message(&found, "DNS").starts_with("E#6051 "),
        "{}",
        message(&found, "DNS")
    );

    let zone = Patch::Merge(json!({"spec": {"networking": {"dns": {"zone": "preview.test"}}}}));
    harness
        .all::<Workspace>()
        .patch("elsewhere", &PatchParams::default(), &zone)
        .await?;
    harness.ready("elsewhere", "True", "Healthy").await?;
    Ok(())
}

#[tokio::test]
async fn a_record_whose_workspace_is_gone_goes_and_one_of_another_is_e3020() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    let first = harness.workspace("sample", sample()?).await?;
    let ready = harness.ready("sample", "True", "Healthy").await?;
    let host = ready
        .status
        .and_then(|status| status.host)
        .context("no host")?;
    // The finalizer is taken away by hand: nothing of it is left behind all the same.
    let lifted = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    harness
        .all::<Workspace>()
        .patch("sample", &PatchParams::default(), &lifted)
        .await?;
    harness
        .all::<Workspace>()
        .delete("sample", &DeleteParams::default())
        .await?;
    until("its record is gone", async || {
        Ok(harness.count::<DNSRecord>().await? == 0)
    })
    .await?;

    // Somebody has the host: the name follows from the Workspace's, so it is known beforehand.
    let other = harness.workspace("other", plain()).await?;
    let taken = json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
        "metadata": {"name": format!("{host}.cname"), "labels": {
            labels::WORKSPACE: "other", labels::WORKSPACE_NAMESPACE: NAMESPACE, labels::WORKSPACE_UID: other.uid(),
        }},
        "spec": {"zone": "preview.test", "name": host.trim_end_matches(".preview.test"), "recordType": "CNAME", "target": "x.test"},
    });
    harness
        .all::<DNSRecord>()
        .create(&PostParams::default(), &serde_json::from_value(taken)?)
        .await?;
    harness.workspace("sample", sample()?).await?;
    let found = harness.ready("sample", "False", "HostTaken").await?;
    let dns = found
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|found| found.type_ == "DNS")
        .context("no DNS")?;
    ensure!(dns.message.starts_with("E#3020 "), "{}", dns.message);
    ensure!(found.uid() != first.uid());
    harness
        .all::<DNSRecord>()
        .delete(&format!("{host}.cname"), &DeleteParams::default())
        .await?;
    harness.ready("sample", "True", "Healthy").await?;
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
    harness.ready("sample", "True", "Healthy").await?;
    Ok(())
}
