//! What is lost or changed by hand comes again: objects, the watcher itself, the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::condition::{ConditionType, find};
use sequencer_api::status::{Retry, Section, State};
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::section::StatusPatch;
use serde_json::json;

use super::{plain, sample};
use crate::harness::{Harness, until};
use crate::services::{section, well};

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

#[tokio::test]
async fn what_tells_whose_a_component_is_comes_again_and_edits_go_on() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("plain", plain()).await?;
    harness.ready("plain", "True", "Healthy").await?;
    let name = harness.component("a").await?.name_any();
    let components = harness.all::<Component>();
    let change = async |metadata: serde_json::Value| {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        components
            .patch(&name, &PatchParams::default(), &patch)
            .await
    };

    let before = change(json!({"ownerReferences": null})).await?.uid();
    until("it has its owner again", async || {
        let found = components.get(&name).await?;
        ensure!(found.uid() == before, "it was made anew");
        Ok(!found.owner_references().is_empty())
    })
    .await?;

    let labels = components.get(&name).await?.labels().clone();
    change(
        json!({"labels": {labels::INSTANCE: "another", labels::WORKSPACE_UID: null, "mine": "x"}}),
    )
    .await?;
    until("it has its labels again, and mine", async || {
        let mut found = components.get(&name).await?.labels().clone();
        Ok(found.remove("mine").as_deref() == Some("x") && found == labels)
    })
    .await?;

    change(json!({"annotations": null})).await?;
    let mut spec = plain();
    *spec
        .pointer_mut("/components/0/template/containers/0/image")
        .context("no image")? = "redis:8".into();
    let patch = Patch::Merge(json!({"spec": spec}));
    let all = harness.all::<Workspace>();
    all.patch("plain", &PatchParams::default(), &patch).await?;
    until("it is edited", async || {
        let found = components.get(&name).await?.spec.template.template;
        let image = found
            .containers
            .into_iter()
            .next()
            .and_then(|first| first.image);
        Ok(image.as_deref() == Some("redis:8"))
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
async fn the_labels_of_a_build_come_again() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("sample", sample()?).await?;
    harness.ready("sample", "True", "Healthy").await?;
    let build: Build = harness.find("").await?;
    let builds = harness.all::<Build>();

    let labels = json!({labels::WORKSPACE_UID: "another", labels::BUILD: null, "mine": "x"});
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    builds
        .patch(&build.name_any(), &PatchParams::default(), &patch)
        .await?;
    until("it has its labels again, and mine", async || {
        let mut found = builds.get(&build.name_any()).await?.labels().clone();
        Ok(found.remove("mine").as_deref() == Some("x") && found == *build.labels())
    })
    .await
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

/// The URL does not answer as it should, as the network service records it.
async fn unanswered(code: Code, delivery: Delivery, client: Client) -> Result<()> {
    let payload = &delivery.payload;
    let api: Api<Workspace> = Api::namespaced(client, &payload.namespace);
    let found = api.get(&payload.name).await?;
    let mut route = found.status.unwrap_or_default().route;
    let rev = route.section.rev;

    let before = route.section.retry.take();
    let now = Time(Timestamp::now());
    route.section = Section {
        retry: Some(Retry {
            attempts: 1,
            since: Some(
                before
                    .and_then(|before| before.since)
                    .unwrap_or(now.clone()),
            ),
            next_attempt_at: Some(now),
            code,
            message: "GET https://... returned 530".into(),
            secret_versions: [].into(),
        }),
        ..section(State::InProgress, found.metadata.generation)
    };

    StatusPatch::new(&payload.uid)
        .section("route", rev, &route)?
        .apply(&api, &payload.name)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_url_that_answers_no_more_all_is_looked_at_and_ready_stays_meanwhile() -> Result<()>
{
    heals(Code::UrlNotAnswering, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_host_that_leads_to_a_private_address_all_is_looked_at() -> Result<()> {
    heals(Code::AddressForbidden, false).await
}

/// A URL that fails so is healed, and Ready stays meanwhile or does not.
async fn heals(code: Code, stays: bool) -> Result<()> {
    let harness = Harness::new().await?;
    let [broken, told] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let flags = (Arc::clone(&broken), Arc::clone(&told));
    let handlers = move |delivery: Delivery, client: Client| {
        let (broken, told) = flags.clone();
        async move {
            let asked = delivery.payload.trigger() == Trigger::Retry;
            match delivery.command.verb() {
                Verb::Probe if broken.load(Ordering::SeqCst) => {
                    unanswered(code, delivery, client).await
                }
                Verb::Tunnel if asked && told.load(Ordering::SeqCst) => {
                    broken.store(false, Ordering::SeqCst);
                    well(delivery, client).await
                }
                _ => well(delivery, client).await,
            }
        }
    };
    harness.play(handlers).await?;
    harness.workspace("sample", sample()?).await?;
    let before = harness.ready("sample", "True", "Healthy").await?;

    let conditions = |workspace: Workspace| workspace.status.unwrap_or_default().conditions;
    let of = |conditions: &[Condition], kind| find(conditions, kind).cloned();
    let ready = of(&conditions(before), ConditionType::Ready).context("not ready")?;
    broken.store(true, Ordering::SeqCst);

    let is_told = async || {
        let now = conditions(harness.all::<Workspace>().get("sample").await?);
        let stands = of(&now, ConditionType::Ready).as_ref() == Some(&ready);
        ensure!(stands || !stays, "{now:?}");
        let mut told = now.iter();
        anyhow::Ok(told.any(|found| found.reason == code.reason()))
    };
    until("it is told", &is_told).await?;
    told.store(true, Ordering::SeqCst);

    until("it is healed", async || Ok(!is_told().await?)).await?;
    ensure!(
        !broken.load(Ordering::SeqCst),
        "nobody looked at the tunnel"
    );
    Ok(())
}
