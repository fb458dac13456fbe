//! Errors that a person heals.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use serde_json::json;

use super::{plain, sample};
use crate::harness::{Harness, NAMESPACE, until};
use crate::services::well;

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
async fn builds_of_one_name_are_one_if_they_are_equal_and_refused_if_they_differ() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    let mut twins = sample()?;
    let components = twins["components"].as_array_mut().context("no list")?;
    let builder = components.iter().find(|each| each.get("build").is_some());
    let mut twin = builder.context("no component with a build")?.clone();
    twin["name"] = "twin".into();
    components.push(twin);
    let mut differ = twins.clone();
    let last = differ["components"]
        .as_array_mut()
        .and_then(|all| all.last_mut());
    last.context("no component")?["build"]["dockerfile"] = "Other".into();

    harness.workspace("twins", differ).await?;
    let found = harness.ready("twins", "False", "BuildNameConflict").await?;
    let status = found.status.unwrap_or_default();
    let told = status
        .conditions
        .iter()
        .find(|found| found.type_ == "Ready");
    assert!(told.is_some_and(|ready| ready.message.starts_with("E#6029 ")));
    assert_eq!(harness.count::<Build>().await?, 0);

    let equal = Patch::Merge(json!({"spec": twins}));
    let all = harness.all::<Workspace>();
    all.patch("twins", &PatchParams::default(), &equal).await?;
    harness.ready("twins", "True", "Healthy").await?;
    assert_eq!(harness.count::<Build>().await?, 1);
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
