//! Objects of one namespace that say that they are of another's Workspace: they are on their own,
//! and it does not notice.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use sequencer_api::status::component::ComponentStatus;
use sequencer_api::{Build, Component, Workspace, labels};
use serde_json::{Value, json};

use crate::harness::{Harness, NAMESPACE, until};
use crate::life::plain;
use crate::services::well;

/// Where the strangers are.
const ELSEWHERE: &str = "team-b";

/// A stranger's Component of this name, and with everything that Components of the Workspace have
/// on them but its controller.
fn component(name: &str, workspace: &Workspace, spec: &Value) -> Result<Component> {
    let labels = json!({
        labels::WORKSPACE: workspace.name_any(), labels::WORKSPACE_NAMESPACE: NAMESPACE,
        labels::WORKSPACE_UID: workspace.uid(), labels::COMPONENT: "a",
    });
    Ok(serde_json::from_value(json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Component", "spec": spec,
        "metadata": {"name": name, "labels": labels, "annotations": {labels::WORKSPACE_GENERATION: "99"}},
    }))?)
}

/// One of the plain components, or of one that can never be built.
fn spec(builds: bool) -> Result<Value> {
    let mut spec = plain()
        .pointer("/components/0")
        .cloned()
        .context("no component")?;

    if builds {
        let build = json!({
            "name": "app", "containerRegistries": [{"url": "r.test/a", "tags": ["dev"]}], "runtime": {"pool": "nowhere"},
            "importContent": [{"contentFrom": {"git": {"url": "https://github.com/a/b"}}}],
        });
        spec.as_object_mut()
            .context("no object")?
            .insert("build".into(), build);
    }

    Ok(spec)
}

async fn says(api: &Api<Component>, name: &str, reason: &str) -> Result<ComponentStatus> {
    until(&format!("{name} says {reason}"), async || {
        let status = api.get(name).await?.status.context("no status")?;
        let ready = status
            .conditions
            .into_iter()
            .find(|found| found.type_ == "Ready")
            .context("no Ready")?;
        ensure!(ready.reason == reason, "{ready:?}");
        Ok(true)
    })
    .await?;
    api.get(name).await?.status.context("no status")
}

#[tokio::test]
async fn labels_and_owners_of_another_tenants_workspace_do_nothing_to_it() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    let namespace = serde_json::from_value(json!({"metadata": {"name": ELSEWHERE}}))?;
    Api::<Namespace>::all(harness.client.clone())
        .create(&PostParams::default(), &namespace)
        .await?;

    let elsewhere: Api<Component> = Api::namespaced(harness.client.clone(), ELSEWHERE);
    let builds: Api<Build> = Api::namespaced(harness.client.clone(), ELSEWHERE);

    harness.workspace("plain", plain()).await?;
    let workspace = harness.ready("plain", "True", "Healthy").await?;
    let ours = harness.component("a").await?;

    // One of the very name that fails, one that works, and one that names the Workspace as its
    // controller.
    let same = ours.name_any();

    elsewhere
        .create(
            &PostParams::default(),
            &component(&same, &workspace, &spec(true)?)?,
        )
        .await?;
    elsewhere
        .create(
            &PostParams::default(),
            &component("good", &workspace, &spec(false)?)?,
        )
        .await?;

    let mut owned = component("owned", &workspace, &spec(true)?)?;
    owned.meta_mut().owner_references =
        workspace.controller_owner_ref(&()).map(|owner| vec![owner]);
    elsewhere.create(&PostParams::default(), &owned).await?;

    let mut build = Build::new(
        "build",
        serde_json::from_value(spec(true)?.get("build").cloned().context("none")?)?,
    );
    build.meta_mut().labels = owned.metadata.labels.clone();
    builds.create(&PostParams::default(), &build).await?;

    // Each is as it would be without them.
    says(&elsewhere, &same, "PoolNotOpen").await?;
    let good = says(&elsewhere, "good", "Healthy").await?;
    ensure!(good.deploy.revision.is_some());
    until("the Build says what is wrong", async || {
        let status = builds.get("build").await?.status.context("no status")?;
        Ok(status
            .conditions
            .iter()
            .any(|found| found.type_ == "Ready" && found.reason == "PoolNotOpen"))
    })
    .await?;
    harness.resyncs().await;
    let published = harness.events("Workspace", "plain").await?;
    ensure!(
        published.iter().all(|(reason, _)| reason == "Ready"),
        "{published:?}"
    );
    harness.ready("plain", "True", "Healthy").await?;

    // The Workspace is edited and deleted as if they were not there.
    let mut edited = plain();
    let first = edited
        .pointer_mut("/components/0")
        .and_then(Value::as_object_mut)
        .context("no component")?;
    first.insert("replicas".into(), json!(2));
    let api = harness.all::<Workspace>();
    api.patch(
        "plain",
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": edited})),
    )
    .await?;

    until("the edit is made", async || {
        Ok(harness.component("a").await?.spec.template.replicas == 2)
    })
    .await?;
    harness.ready("plain", "True", "Healthy").await?;
    api.delete("plain", &DeleteParams::default()).await?;
    until("the Workspace is gone", async || {
        Ok(api.get_opt("plain").await?.is_none())
    })
    .await?;
    harness.resyncs().await;
    for name in [same.as_str(), "good", "owned"] {
        ensure!(
            elsewhere
                .get(name)
                .await?
                .metadata
                .deletion_timestamp
                .is_none(),
            "{name} goes too"
        );
    }

    says(&elsewhere, "good", "Healthy").await?;
    Ok(())
}
