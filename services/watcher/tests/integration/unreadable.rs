//! An object that the API server takes and the watcher's types cannot read.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use sequencer_api::{Component, Workspace};
use serde_json::{Value, json};

use crate::harness::{Harness, NAMESPACE, until};
use crate::life::plain;
use crate::services::well;

/// As if another version of the chart had been here: a ttl may be anything.
async fn loosen(harness: &Harness) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(harness.client.clone());
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/ttl";
    let operations = json!([{"op": "replace", "path": path, "value": {"x-kubernetes-preserve-unknown-fields": true}}]);
    let patch = Patch::<()>::Json(serde_json::from_value(operations)?);
    crds.patch("workspaces.se.quencer.io", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

fn raw(harness: &Harness) -> Api<DynamicObject> {
    Api::namespaced_with(
        harness.client.clone(),
        NAMESPACE,
        &ApiResource::erase::<Workspace>(&()),
    )
}

async fn ready(harness: &Harness, name: &str) -> Result<Value> {
    let found = raw(harness).get(name).await?;
    let conditions = found
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();

    conditions
        .into_iter()
        .find(|found| found.get("type") == Some(&"Ready".into()))
        .context("no Ready")
}

fn says_so(ready: &Value) -> bool {
    let message = ready
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    ready.get("status") == Some(&"False".into()) && message.starts_with("E#5012 ")
}

#[tokio::test]
async fn an_object_that_cannot_be_read_says_so_holds_up_no_other_and_heals() -> Result<()> {
    let mut harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("before", plain()).await?;
    harness.ready("before", "True", "Healthy").await?;
    loosen(&harness).await?;
    let mut spec = plain();
    spec.as_object_mut()
        .context("no object")?
        .insert("ttl".into(), json!(5));
    let bad = json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "bad"}, "spec": spec,
    });
    let bad: DynamicObject = serde_json::from_value(bad)?;
    until("it is taken", async || {
        Ok(raw(&harness)
            .create(&PostParams::default(), &bad)
            .await
            .is_ok())
    })
    .await?;
    until("it says so", async || {
        Ok(says_so(&ready(&harness, "bad").await?))
    })
    .await?;
    until("it is published", async || {
        Ok(harness.events("Workspace", "bad").await?.len() == 1)
    })
    .await?;
    harness.workspace("beside", plain()).await?;
    harness.ready("beside", "True", "Healthy").await?;

    // One that could be read before: what it made stays.
    let spoiled = Patch::Merge(json!({"spec": {"ttl": 5}}));
    raw(&harness)
        .patch("before", &PatchParams::default(), &spoiled)
        .await?;
    until("it says so", async || {
        Ok(says_so(&ready(&harness, "before").await?))
    })
    .await?;
    let version = raw(&harness).get("bad").await?.resource_version();

    // Neither a list nor a new watcher is held up.
    harness.kill()?;
    harness.start()?;
    harness.workspace("after", plain()).await?;
    harness.ready("after", "True", "Healthy").await?;
    ensure!(
        raw(&harness).get("bad").await?.resource_version() == version,
        "written again"
    );
    assert_eq!(harness.count::<Component>().await?, 9);

    for name in ["bad", "before"] {
        let healed = Patch::Merge(json!({"spec": {"ttl": "1h"}}));
        raw(&harness)
            .patch(name, &PatchParams::default(), &healed)
            .await?;
        harness.ready(name, "True", "Healthy").await?;
    }
    Ok(())
}
