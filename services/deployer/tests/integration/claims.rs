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
