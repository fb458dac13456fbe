//! Claims on volumes: one's own, and somebody else's.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use sequencer_api::names;
use serde_json::{Value, json};

use crate::scene::{Scene, name, plain};

/// A claim that nobody made for a preview.
fn make(scene: &Scene, name: &str) -> Result<()> {
    scene.cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec(),
    }))
}

fn spec() -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}})
}

async fn failure(scene: &Scene, workspace: &sequencer_api::Workspace) -> Result<Value> {
    let section = scene
        .section(workspace, "redis", |section| section["state"] == "Error")
        .await?;
    Ok(section["failure"]["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_somebody_elses_is_mounted_only_where_the_operator_shares_it() -> Result<()> {
    let scene = Scene::still("shared").await?;
    make(&scene, "models")?;
    let volume = json!({"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": true}});
    let mut components = json!([plain()[0]]);
    components[0]["template"]["volumes"] = json!([volume]);
    let workspace = scene.workspace(components).await?;
    scene.deploy(&workspace, "redis").await?;
    assert_eq!(failure(&scene, &workspace).await?, "E#6021");
    let deployment = name(&workspace, "redis");
    assert!(
        scene
            .api::<Deployment>()
            .get_opt(&deployment)
            .await?
            .is_none()
    );

    let shared = json!([{"namespace": scene.namespace(), "name": "models"}]).to_string();
    let scene = scene.configured(&["--shared-claims", &shared])?;
    scene.deploy(&workspace, "redis").await?;
    let path = ".spec.template.spec.volumes[0].persistentVolumeClaim.claimName";
    assert_eq!(
        scene
            .cluster
            .field(&format!("deployment/{deployment}"), path)?,
        "models"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_the_name_of_ones_own_is_e5011_as_long_as_it_is_somebody_elses() -> Result<()>
{
    let scene = Scene::still("taken").await?;
    let mut components = json!([plain()[0]]);
    components[0]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": spec()}]);
    let workspace = scene.workspace(components).await?;
    let component = name(&workspace, "redis");
    let claim = names::claim("data", &component);
    make(&scene, &claim)?;
    scene.deploy(&workspace, "redis").await?;
    assert_eq!(failure(&scene, &workspace).await?, "E#5011");
    assert!(
        scene
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_none()
    );

    scene.cluster.kubectl(&["delete", "pvc", &claim])?;
    scene.deploy(&workspace, "redis").await?;
    let uid = scene
        .component(&workspace, "redis")
        .await?
        .metadata
        .uid
        .unwrap_or_default();
    assert_eq!(
        scene
            .cluster
            .field(&format!("pvc/{claim}"), ".metadata.ownerReferences[0].uid")?,
        uid
    );
    assert!(
        scene
            .api::<Deployment>()
            .get_opt(&component)
            .await?
            .is_some()
    );
    Ok(())
}
