//! A Component that was applied on its own.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use sequencer_api::Component;
use sequencer_api::names::Owner;
use serde_json::{Value, json};

use crate::harness::{Harness, plain, until};

async fn apply(harness: &Harness, name: &str, spec: &Value) -> Result<Component> {
    let body = json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec,
    });
    Ok(harness
        .api()
        .create(&PostParams::default(), &serde_json::from_value(body)?)
        .await?)
}

/// Reconciles a Component, and returns its section.
async fn deploy(harness: &Harness, component: &Component) -> Result<Value> {
    let name = component.metadata.name.as_deref().unwrap();
    harness.reconcile::<Component>(name).await?;

    let found: Component = harness.api().get(name).await?;
    Ok(json!(found.status.unwrap_or_default().deploy))
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_their_own_find_each_other_and_owe_nothing_to_a_workspace() -> Result<()> {
    let harness = Harness::still("alone").await?;
    let mysql = apply(&harness, "database", &plain()[1]).await?;
    let click = apply(&harness, "front", &plain()[2]).await?;

    deploy(&harness, &mysql).await?;
    deploy(&harness, &click).await?;
    let made: Deployment = harness.api().get("front").await?;
    let host = made.spec.unwrap().template.spec.unwrap().containers[0]
        .env
        .clone()
        .unwrap()[0]
        .value
        .clone()
        .unwrap();
    let service = host.split('.').next().unwrap();

    assert_eq!(
        harness
            .cluster
            .field(&format!("service/{service}"), ".spec.ports[0].port")?,
        "3306"
    );

    for (component, name) in [(&mysql, "mysql"), (&click, "click-mania")] {
        let owner = Owner::of(component);
        let policy = format!("networkpolicy/{}", owner.policy(name));

        assert_eq!(
            harness
                .cluster
                .field(&policy, ".metadata.ownerReferences[0].uid")?,
            owner.uid
        );
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_waits_for_one_that_is_applied_after_it() -> Result<()> {
    let harness = Harness::new("order").await?;
    let front = apply(&harness, "front", &plain()[2]).await?;
    let waiting = deploy(&harness, &front).await?;
    assert_ne!(waiting["state"], "Error", "{waiting:#}");
    assert!(
        harness
            .api::<Deployment>()
            .get_opt("front")
            .await?
            .is_none()
    );

    apply(&harness, "database", &plain()[1]).await?;
    until("it starts", async || {
        Ok(harness
            .api::<Deployment>()
            .get_opt("front")
            .await?
            .is_some())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_one_name_are_e2017() -> Result<()> {
    let harness = Harness::still("twins").await?;
    let one = apply(&harness, "one", &plain()[0]).await?;
    apply(&harness, "two", &plain()[0]).await?;
    let section = deploy(&harness, &one).await?;
    assert_eq!(section["failure"]["code"], "E#2017");
    Ok(())
}
