//! What waits for a sibling or a roll-out, and what goes on meanwhile.

use anyhow::{Context as _, Result};
use sequencer_api::Component;
use sequencer_api::status::State;
use serde_json::json;

use super::{healthy, waiting};
use crate::harness::{Harness, name, owner, plain, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_keeps_its_service_until_its_new_revision_serves() -> Result<()> {
    let harness = Harness::still("kept").await?;
    let mut components = json!([plain()[0], plain()[2]]);
    components[1]["template"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("env");

    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "click-mania").await?;
    let sections = harness.api::<Component>();
    let component = name(&workspace, "click-mania");

    until("it is recorded", async || {
        harness.deploy(&workspace, "click-mania").await?;
        let found = sections.get(&component).await?;
        Ok(found
            .status
            .is_some_and(|status| status.deploy.kind.is_some()))
    })
    .await?;

    let service = format!(
        "service/{}",
        owner(&workspace).service("click-mania", "http")
    );
    let port = || harness.cluster.field(&service, ".spec.ports[0].targetPort");
    assert_eq!(port()?, "3000");

    let depends_on = json!([{"componentName": "redis"}]);
    let patch = json!([
        {"op": "replace", "path": "/spec/networks/0/targetPort", "value": 8080},
        {"op": "replace", "path": "/spec/template/containers/0/ports/0/containerPort", "value": 8080},
        {"op": "replace", "path": "/spec/template/containers/0/command/3", "value": "8080"},
        {"op": "add", "path": "/spec/dependsOn", "value": depends_on},
    ]);
    harness.patch("component", &component, &patch)?;
    harness.deploy(&workspace, "click-mania").await?;
    assert_eq!(port()?, "3000");

    harness
        .condition(&workspace, "redis", "Ready", "Healthy")
        .await?;
    harness.deploy(&workspace, "click-mania").await?;
    assert_eq!(port()?, "3000");
    until("the Service turns", async || {
        harness.deploy(&workspace, "click-mania").await?;
        Ok(port()? == "8080")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_waits_for_its_dependency_and_goes_on_without_it() -> Result<()> {
    let harness = Harness::new("waits").await?;
    let mut components = json!([plain()[0], plain()[2]]);
    components[1]["template"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("env");
    let depends_on =
        json!({"componentName": "redis", "conditionType": "Pod", "conditionStatus": "Healthy"});
    components[1]["dependsOn"] = json!([depends_on]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "click-mania").await?;
    let section = harness.section(&workspace, "click-mania", waiting).await?;
    assert_eq!(section["waitingFor"], json!([depends_on]));
    let component = name(&workspace, "click-mania");
    assert!(!harness.is_deployed(&component).await?);

    harness
        .condition(&workspace, "redis", "Pod", "Healthy")
        .await?;
    harness.deploy(&workspace, "click-mania").await?;
    let section = harness.section(&workspace, "click-mania", healthy).await?;
    assert!(section.get("waitingFor").is_none());

    // What runs goes on, and only a new revision waits.
    harness
        .condition(&workspace, "redis", "Pod", "CrashLoop")
        .await?;
    harness.deploy(&workspace, "click-mania").await?;
    assert_eq!(
        harness
            .section(&workspace, "click-mania", |_section| true)
            .await?["state"],
        json!(State::Healthy)
    );
    let patch = json!([{"op": "add", "path": "/spec/template/containers/0/env", "value": [{"name": "A", "value": "b"}]}]);
    harness.patch("component", &component, &patch)?;
    harness.deploy(&workspace, "click-mania").await?;
    let waiting = harness.section(&workspace, "click-mania", waiting).await?;
    assert_eq!(
        (&waiting["images"], waiting.get("revision")),
        (&section["images"], None)
    );
    let generation = harness
        .cluster
        .field(&format!("deployment/{component}"), ".metadata.generation")?;
    assert_eq!(generation, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_a_sibling_waits_for_are_told_while_their_pods_start() -> Result<()> {
    let harness = Harness::new("awaited").await?;
    let mut components = json!([plain()[0], plain()[2]]);
    // It never becomes ready.
    components[0]["template"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["false"]}});
    components[1]["dependsOn"] = json!([{"componentName": "redis", "conditionType": "Network"}]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "redis").await?;
    let component = name(&workspace, "redis");
    // The handler wrote it by itself: nothing has to be waited for.
    let deploy = harness
        .api::<Component>()
        .get(&component)
        .await?
        .status
        .unwrap_or_default()
        .deploy;

    assert_eq!(
        (deploy.section.state, deploy.services.len()),
        (Some(State::InProgress), 1)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_costs_one_section_write_for_each_step_that_lasts() -> Result<()> {
    let harness = Harness::new("cheap").await?;
    let mut components = json!([plain()[0], plain()[1], plain()[2]]);
    let click = &mut components[2];
    let slow = "sleep 7; exec python3 -m http.server 3000";
    click["template"]["containers"][0] = json!({
        "name": "click", "image": "app-base:bookworm", "ports": [{"containerPort": 3000}], "command": ["sh", "-c", slow],
    });
    click["dependsOn"] = json!(
        ["redis", "mysql"].map(|name| json!({"componentName": name, "conditionType": "Pod"}))
    );
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "click-mania").await?;
    let waiting = harness.section(&workspace, "click-mania", waiting).await?;
    assert_eq!(
        (
            waiting["waitingFor"].as_array().map(Vec::len),
            &waiting["rev"]
        ),
        (Some(2), &json!(1))
    );
    // It waits for less, it starts, and it takes its time.
    for name in ["redis", "mysql"] {
        harness
            .condition(&workspace, name, "Pod", "Healthy")
            .await?;
        harness.deploy(&workspace, "click-mania").await?;
    }
    // It waited for both, perhaps for one, it started, and it is ready.
    let done = harness.section(&workspace, "click-mania", healthy).await?;
    let rev = done["rev"].as_i64().context("no revision")?;
    assert!((3..=4).contains(&rev), "{done:#}");
    Ok(())
}
