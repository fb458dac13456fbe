//! Components without a build.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::scene::{Scene, plain};

#[tokio::test(flavor = "multi_thread")]
async fn three_plain_components_become_healthy_with_ten_writes() -> Result<()> {
    let scene = Scene::new("plain").await?;
    let workspace = scene.workspace(plain()).await?;
    let (redis, mysql, click) = tokio::join!(
        scene.deploy(&workspace, "redis"),
        scene.deploy(&workspace, "mysql"),
        scene.deploy(&workspace, "click-mania"),
    );
    assert_eq!([redis?, mysql?, click?], [Outcome::Done; 3]);
    for component in ["redis", "mysql", "click-mania"] {
        let section = scene.section(&workspace, component, |section| section["state"] == "Healthy").await?;
        assert_eq!((&section["readyReplicas"], &section["replicas"]), (&json!(1), &json!(1)), "{section:#}");
        assert!(section["rev"].as_i64() <= Some(2), "{section:#}");
    }
    let count = ListParams::default();
    assert_eq!(scene.api::<Deployment>().list(&count).await?.items.len(), 3);
    assert_eq!(scene.api::<Service>().list(&count).await?.items.len(), 3);
    assert_eq!(scene.api::<NetworkPolicy>().list(&count).await?.items.len(), 1);
    Ok(())
}
