//! Objects that are made once and again, and never somebody else's.

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams};
use sequencer_api::Component;
use serde_json::json;

use super::{failed, healthy};
use crate::harness::{Harness, name, owner, plain, until};

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
async fn what_somebody_changes_or_takes_away_by_hand_is_as_planned_again() -> Result<()> {
    let harness = Harness::new("byhand").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    harness.deploy(&workspace, "redis").await?;
    harness.section(&workspace, "redis", healthy).await?;

    let deployment = name(&workspace, "redis");
    let service = owner(&workspace).service("redis", "tcp");
    let policy = owner(&workspace).ingress();
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nope"}]);
    let taken = |path: &str| json!([{"op": "remove", "path": path}]);
    for (kind, object, path, patch) in [
        (
            "deployment",
            &deployment,
            ".spec.template.spec.containers[0].image",
            image,
        ),
        (
            "service",
            &service,
            ".spec.ports[0].targetPort",
            json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 1}]),
        ),
        (
            "deployment",
            &deployment,
            ".spec.template.spec.containers[0].readinessProbe.tcpSocket.port",
            taken("/spec/template/spec/containers/0/readinessProbe"),
        ),
        (
            "networkpolicy",
            &policy,
            ".spec.egress",
            taken("/spec/egress"),
        ),
    ] {
        let value = || harness.cluster.field(&format!("{kind}/{object}"), path);
        let before = value()?;
        harness.patch(kind, object, &patch)?;
        until(
            &format!("{path} of the {kind} is {before} again"),
            async || Ok(value()? == before),
        )
        .await?;
    }

    harness.section(&workspace, "redis", healthy).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_owner_somebody_takes_away_runs_on_as_it_is() -> Result<()> {
    let harness = Harness::new("orphan").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    harness.section(&workspace, "redis", healthy).await?;
    let component = name(&workspace, "redis");
    let before = versions(&harness)?;
    let own = harness.component(&workspace, "redis").await?;

    let owners = json!({"metadata": {"ownerReferences": null}});
    harness.patch("component", &component, &owners)?;
    harness.reconcile::<Component>(&component).await?;
    let of_deployer = |all: &str| -> Vec<String> {
        let rest = all.lines().filter(|line| !line.starts_with("Component"));
        rest.map(ToOwned::to_owned).collect()
    };
    assert_eq!(of_deployer(&versions(&harness)?), of_deployer(&before));

    // What it was to be meanwhile, it becomes once it has its owner again.
    let image =
        json!([{"op": "replace", "path": "/spec/template/containers/0/image", "value": "redis:7"}]);
    harness.patch("component", &component, &image)?;
    harness.reconcile::<Component>(&component).await?;
    assert_eq!(of_deployer(&versions(&harness)?), of_deployer(&before));
    let owners = json!({"metadata": {"ownerReferences": own.metadata.owner_references}});
    harness.patch("component", &component, &owners)?;
    until("it is rolled out", async || {
        Ok(of_deployer(&versions(&harness)?) != of_deployer(&before))
    })
    .await
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

    let section = harness.section(&workspace, "redis", failed).await?;

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
    harness.patch("workspace", "shop", &patch)?;
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
