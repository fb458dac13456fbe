//! What was made: made once, made again, waited for, and never somebody else's.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams};
use sequencer_api::Component;
use sequencer_api::status::State;
use serde_json::{Value, json};

use crate::harness::{Harness, name, owner, plain, until};

fn healthy(section: &Value) -> bool {
    section["state"] == json!(State::Healthy)
}

/// The versions of everything in the namespace that the deployer writes.
fn versions(harness: &Harness) -> Result<String> {
    let path =
        "{range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    harness.cluster.kubectl(&[
        "get",
        "components,deployments,services,networkpolicies",
        "-o",
        &format!("jsonpath={path}"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_twice_nothing_is_written() -> Result<()> {
    let harness = Harness::new("twice").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    harness.deploy(&workspace, "redis").await?;
    harness.section(&workspace, "redis", healthy).await?;
    let (before, writes) = (versions(&harness)?, harness.writes()?);
    assert!(before.lines().count() == 4, "{before}");
    for _ in 0..2 {
        harness.deploy(&workspace, "redis").await?;
    }

    assert_eq!((versions(&harness)?, harness.writes()?), (before, writes));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_of_our_name_is_e5011_and_stays_as_it_is() -> Result<()> {
    let harness = Harness::still("foreign").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    let service = owner(&workspace).service("redis", "tcp");
    let body = json!({"metadata": {"name": service}, "spec": {"ports": [{"port": 1}]}});
    let made: Service = harness
        .api()
        .create(&PostParams::default(), &serde_json::from_value(body)?)
        .await?;

    harness.deploy(&workspace, "redis").await?;

    let section = harness
        .section(&workspace, "redis", |section| {
            section["state"] == json!(State::Error)
        })
        .await?;

    assert_eq!(
        (&section["failure"]["code"], &section["retry"]["code"]),
        (&json!("E#5011"), &json!("E#5011"))
    );

    let now: Service = harness.api().get(&service).await?;
    assert_eq!(
        now.metadata.resource_version,
        made.metadata.resource_version
    );

    harness
        .api::<Service>()
        .delete(&service, &DeleteParams::default())
        .await?;
    harness.deploy(&workspace, "redis").await?;
    let now: Service = harness.api().get(&service).await?;
    assert_ne!(now.metadata.uid, made.metadata.uid);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_child_is_made_again() -> Result<()> {
    let harness = Harness::new("again").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    harness.deploy(&workspace, "redis").await?;
    harness.section(&workspace, "redis", healthy).await?;
    let component = name(&workspace, "redis");

    for object in [
        format!("deployment/{component}"),
        format!("service/{}", owner(&workspace).service("redis", "tcp")),
        format!("networkpolicy/{}", owner(&workspace).ingress()),
    ] {
        let uid = harness.cluster.field(&object, ".metadata.uid")?;
        harness.cluster.kubectl(&["delete", &object])?;
        until(&format!("{object} is there again"), async || {
            Ok(harness
                .cluster
                .field(&object, ".metadata.uid")
                .is_ok_and(|now| now != uid))
        })
        .await?;
    }

    harness.section(&workspace, "redis", healthy).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_let_in_as_long_as_it_is() -> Result<()> {
    let harness = Harness::new("published").await?;
    let rule = json!({"name": "a", "component": "redis", "network": "tcp"});
    let networking = json!({"dns": {"zone": "preview.test"}, "ingress": {"className": "traefik", "rules": [rule]}});
    let components = json!([plain()[0], plain()[1]]);
    let workspace = harness
        .workspace_with(json!({"components": components, "networking": networking}))
        .await?;
    harness.deploy(&workspace, "redis").await?;
    harness.deploy(&workspace, "mysql").await?;
    let policies = harness.api::<NetworkPolicy>();
    let name = owner(&workspace).policy("redis");
    assert!(policies.get_opt(&name).await?.is_some());
    assert!(
        policies
            .get_opt(&owner(&workspace).policy("mysql"))
            .await?
            .is_none()
    );
    policies.delete(&name, &DeleteParams::default()).await?;
    until("it is there again", async || {
        Ok(policies.get_opt(&name).await?.is_some())
    })
    .await?;

    let patch = json!([{"op": "remove", "path": "/spec/networking"}]);
    harness.cluster.kubectl(&[
        "patch",
        "workspace",
        "shop",
        "--type=json",
        "-p",
        &patch.to_string(),
    ])?;
    harness.deploy(&workspace, "redis").await?;
    assert!(policies.get_opt(&name).await?.is_none());
    assert!(
        policies
            .get_opt(&owner(&workspace).ingress())
            .await?
            .is_some()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_keeps_its_service_until_its_new_revision_is_rolled_out() -> Result<()> {
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
        {"op": "add", "path": "/spec/dependsOn", "value": depends_on},
    ]);
    let patch = patch.to_string();

    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=json",
        "-p",
        &patch,
    ])?;
    harness.deploy(&workspace, "click-mania").await?;
    assert_eq!(port()?, "3000");

    harness
        .condition(&workspace, "redis", "Ready", "Healthy")
        .await?;
    harness.deploy(&workspace, "click-mania").await?;
    assert_eq!(port()?, "8080");
    Ok(())
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
    let section = harness
        .section(&workspace, "click-mania", |section| {
            section["state"] == json!(State::Waiting)
        })
        .await?;
    assert_eq!(section["waitingFor"], json!([depends_on]));
    let component = name(&workspace, "click-mania");
    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_none()
    );

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
    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=json",
        "-p",
        &patch.to_string(),
    ])?;
    harness.deploy(&workspace, "click-mania").await?;
    let waiting = harness
        .section(&workspace, "click-mania", |section| {
            section["state"] == json!(State::Waiting)
        })
        .await?;
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
    let waiting = harness
        .section(&workspace, "click-mania", |section| {
            section["state"] == json!(State::Waiting)
        })
        .await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_people_scale_and_restart_stands_until_the_template_changes() -> Result<()> {
    let harness = Harness::new("people").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    harness.deploy(&workspace, "redis").await?;
    harness.section(&workspace, "redis", healthy).await?;
    let deployment = format!("deployment/{}", name(&workspace, "redis"));
    harness
        .cluster
        .kubectl(&["scale", &deployment, "--replicas=2"])?;
    harness
        .cluster
        .kubectl(&["rollout", "restart", &deployment])?;

    let restarted = "{.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}";
    let restart = || {
        harness
            .cluster
            .kubectl(&["get", &deployment, "-o", &format!("jsonpath={restarted}")])
    };

    let first = restart()?;

    harness
        .section(&workspace, "redis", |section| {
            section["readyReplicas"] == 2 && healthy(section)
        })
        .await?;
    harness.deploy(&workspace, "redis").await?;
    assert_eq!(
        (
            harness.cluster.field(&deployment, ".spec.replicas")?,
            restart()?
        ),
        ("2".into(), first)
    );

    let component = name(&workspace, "redis");
    let patch = json!([{"op": "add", "path": "/spec/template/containers/0/env", "value": [{"name": "A", "value": "b"}]}]);

    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=json",
        "-p",
        &patch.to_string(),
    ])?;
    harness.deploy(&workspace, "redis").await?;
    // The mark of the restart is kubectl's own field, and stays.
    assert_eq!(harness.cluster.field(&deployment, ".spec.replicas")?, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_stays_as_it_is() -> Result<()> {
    let harness = Harness::still("paused").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    let component = name(&workspace, "redis");
    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=merge",
        "-p",
        r#"{"spec":{"paused":true}}"#,
    ])?;
    harness.deploy(&workspace, "redis").await?;
    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_none()
    );
    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=merge",
        "-p",
        r#"{"spec":{"paused":false}}"#,
    ])?;
    harness.deploy(&workspace, "redis").await?;
    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_some()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_goes_is_left_alone() -> Result<()> {
    let harness = Harness::still("gone").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    let component = name(&workspace, "redis");

    harness
        .api::<Component>()
        .delete(&component, &DeleteParams::default())
        .await?;
    harness.reconcile::<Component>(&component).await?;
    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_none()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_cannot_be_is_recorded_once_with_its_code() -> Result<()> {
    let harness = Harness::still("refused").await?;
    let mut components = json!([plain()[0]]);
    components[0]["template"]["containers"][0]["args"] = json!(["${build::nope}"]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "redis").await?;

    let section = harness
        .section(&workspace, "redis", |section| {
            section["state"] == json!(State::Error)
        })
        .await?;

    assert_eq!(
        (&section["retry"]["code"], &section["retry"]["attempts"]),
        (&json!("E#2009"), &json!(1))
    );
    harness.deploy(&workspace, "redis").await?;
    assert_eq!(
        harness
            .section(&workspace, "redis", |_section| true)
            .await?,
        section
    );
    Ok(())
}
