//! Claims on volumes: one's own, and somebody else's.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use sequencer_api::names;
use serde_json::{Value, json};

use crate::harness::{Harness, name, plain};

/// A claim that nobody made for a preview.
fn make(harness: &Harness, name: &str) -> Result<()> {
    harness.cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec(),
    }))
}

fn spec() -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}})
}

async fn failure(harness: &Harness, workspace: &sequencer_api::Workspace) -> Result<Value> {
    let section = harness
        .section(workspace, "redis", |section| section["state"] == "Error")
        .await?;
    Ok(section["failure"]["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_somebody_elses_is_mounted_only_where_the_operator_shares_it() -> Result<()> {
    let harness = Harness::still("shared").await?;
    make(&harness, "models")?;
    let volume = json!({"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": true}});
    let mut components = json!([plain()[0]]);
    components[0]["template"]["volumes"] = json!([volume]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "redis").await?;
    assert_eq!(failure(&harness, &workspace).await?, "E#6021");
    let deployment = name(&workspace, "redis");
    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&deployment)
            .await?
            .is_none()
    );

    let shared = json!([{"namespace": harness.namespace(), "name": "models"}]).to_string();
    let harness = harness.configured(&["--shared-claims", &shared])?;
    harness.deploy(&workspace, "redis").await?;
    let path = ".spec.template.spec.volumes[0].persistentVolumeClaim.claimName";
    assert_eq!(
        harness
            .cluster
            .field(&format!("deployment/{deployment}"), path)?,
        "models"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_the_name_of_ones_own_is_e5011_as_long_as_it_is_somebody_elses() -> Result<()>
{
    let harness = Harness::still("taken").await?;
    let mut components = json!([plain()[0]]);
    components[0]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": spec()}]);
    let workspace = harness.workspace(components).await?;
    let component = name(&workspace, "redis");
    let claim = names::claim("data", &component);
    make(&harness, &claim)?;
    harness.deploy(&workspace, "redis").await?;
    assert_eq!(failure(&harness, &workspace).await?, "E#5011");
    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_none()
    );

    harness.cluster.kubectl(&["delete", "pvc", &claim])?;
    harness.deploy(&workspace, "redis").await?;

    let uid = harness
        .component(&workspace, "redis")
        .await?
        .metadata
        .uid
        .unwrap_or_default();

    assert_eq!(
        harness
            .cluster
            .field(&format!("pvc/{claim}"), ".metadata.ownerReferences[0].uid")?,
        uid
    );

    assert!(
        harness
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_some()
    );
    Ok(())
}

/// A volume for a claim: nothing here makes any.
fn bind(harness: &Harness, claim: &str) -> Result<()> {
    let namespace = harness.namespace();
    let place = format!("/tmp/{namespace}-{claim}");
    harness.cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{namespace}-{claim}")},
        "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": place, "type": "DirectoryOrCreate"},
        },
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_changed_or_deleted_is_e6028_and_all_else_goes_on() -> Result<()> {
    let harness = Harness::new("claimed").await?;
    let mut components = json!([plain()[0]]);
    components[0]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": spec()}]);
    let workspace = harness.workspace(components).await?;
    let component = name(&workspace, "redis");
    let claim = names::claim("data", &component);
    bind(&harness, &claim)?;
    let healthy = |section: &Value| section["state"] == "Healthy";
    harness.section(&workspace, "redis", healthy).await?;

    let edit = |size: &str, value: &str| {
        let env = json!([{"name": "A", "value": value}]);
        let patch = json!([
            {"op": "replace", "path": "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", "value": size},
            {"op": "add", "path": "/spec/template/containers/0/env", "value": env},
        ]);
        harness.patch("component", &component, &patch)
    };
    let runs = || {
        let path = ".spec.template.spec.containers[0].env[0].value";
        let deployment = format!("deployment/{component}");
        harness.cluster.field(&deployment, path)
    };
    edit("2Mi", "changed")?;
    assert_eq!(failure(&harness, &workspace).await?, "E#6028");
    assert_eq!(runs()?, "changed");
    edit("1Mi", "undone")?;
    harness.section(&workspace, "redis", healthy).await?;
    assert_eq!(runs()?, "undone");

    let gone = ["delete", "pvc", &claim, "--wait=false"];
    harness.cluster.kubectl(&gone)?;
    harness.deploy(&workspace, "redis").await?;
    assert_eq!(failure(&harness, &workspace).await?, "E#6028");

    let volume = format!("{}-{claim}", harness.namespace());
    let gone = ["delete", "pv", &volume, "--wait=false"];
    harness.cluster.kubectl(&gone).map(drop)
}
