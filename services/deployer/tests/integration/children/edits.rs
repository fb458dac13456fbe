//! What people do to a component: scale, restart, pause, delete, and get wrong.

use anyhow::Result;
use kube::api::DeleteParams;
use sequencer_api::Component;
use serde_json::json;

use super::{failed, healthy};
use crate::harness::{Harness, name, plain};

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

    harness.patch("component", &component, &patch)?;
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
    harness.patch("component", &component, &json!({"spec": {"paused": true}}))?;
    harness.deploy(&workspace, "redis").await?;
    assert!(!harness.is_deployed(&component).await?);
    harness.patch("component", &component, &json!({"spec": {"paused": false}}))?;
    harness.deploy(&workspace, "redis").await?;
    assert!(harness.is_deployed(&component).await?);
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
    assert!(!harness.is_deployed(&component).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_cannot_be_is_recorded_once_with_its_code() -> Result<()> {
    let harness = Harness::still("refused").await?;
    let mut components = json!([plain()[0]]);
    components[0]["template"]["containers"][0]["args"] = json!(["${build::nope}"]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "redis").await?;

    let section = harness.section(&workspace, "redis", failed).await?;

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
