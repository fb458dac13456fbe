//! A Component that was applied on its own.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use sequencer_api::Component;
use sequencer_api::names::Owner;
use serde_json::{Value, json};

use crate::scene::{Scene, plain, until};

async fn apply(scene: &Scene, name: &str, spec: &Value) -> Result<Component> {
    let body = json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec,
    });
    Ok(scene
        .api()
        .create(&PostParams::default(), &serde_json::from_value(body)?)
        .await?)
}

/// Reconciles a Component, and returns its section.
async fn deploy(scene: &Scene, component: &Component) -> Result<Value> {
    let name = component.metadata.name.as_deref().unwrap();
    scene.reconcile::<Component>(name).await?;

    let found: Component = scene.api().get(name).await?;
    Ok(json!(found.status.unwrap_or_default().deploy))
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_their_own_find_each_other_and_owe_nothing_to_a_workspace() -> Result<()> {
    let scene = Scene::still("alone").await?;
    let mysql = apply(&scene, "database", &plain()[1]).await?;
    let click = apply(&scene, "front", &plain()[2]).await?;
    deploy(&scene, &mysql).await?;
    deploy(&scene, &click).await?;
    let made: Deployment = scene.api().get("front").await?;
    let host = made.spec.unwrap().template.spec.unwrap().containers[0]
        .env
        .clone()
        .unwrap()[0]
        .value
        .clone()
        .unwrap();
    let service = host.split('.').next().unwrap();
    assert_eq!(
        scene
            .cluster
            .field(&format!("service/{service}"), ".spec.ports[0].port")?,
        "3306"
    );
    for (component, name) in [(&mysql, "mysql"), (&click, "click-mania")] {
        let owner = Owner::of(component);
        let policy = format!("networkpolicy/{}", owner.policy(name));
        assert_eq!(
            scene
                .cluster
                .field(&policy, ".metadata.ownerReferences[0].uid")?,
            owner.uid
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_waits_for_one_that_is_applied_after_it() -> Result<()> {
    let scene = Scene::new("order").await?;
    let front = apply(&scene, "front", &plain()[2]).await?;
    let waiting = deploy(&scene, &front).await?;
    assert_ne!(waiting["state"], "Error", "{waiting:#}");
    assert!(scene.api::<Deployment>().get_opt("front").await?.is_none());

    apply(&scene, "database", &plain()[1]).await?;
    until("it starts", async || {
        Ok(scene.api::<Deployment>().get_opt("front").await?.is_some())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_one_name_are_e2017() -> Result<()> {
    let scene = Scene::still("twins").await?;
    let one = apply(&scene, "one", &plain()[0]).await?;
    apply(&scene, "two", &plain()[0]).await?;
    let section = deploy(&scene, &one).await?;
    assert_eq!(section["failure"]["code"], "E#2017");
    Ok(())
}
