//! Components that were applied on their own.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams};
use sequencer_api::{Build, Component, labels};
use serde_json::{Value, json};

use crate::harness::{Harness, until};
use crate::life::{plain, sample};
use crate::services::well;

async fn apply(harness: &Harness, name: &str, spec: Value) -> Result<Component> {
    let object = json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec,
    });
    Ok(harness
        .all()
        .create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?)
}

async fn healthy(harness: &Harness, name: &str) -> Result<Component> {
    until(&format!("{name} is healthy"), async || {
        let status = harness
            .all::<Component>()
            .get(name)
            .await?
            .status
            .context("no status")?;
        let ready = status
            .conditions
            .iter()
            .find(|found| found.type_ == "Ready")
            .context("no Ready")?;
        ensure!(ready.reason == "Healthy", "{ready:?}");
        Ok(true)
    })
    .await?;
    Ok(harness.all::<Component>().get(name).await?)
}

async fn reasons(harness: &Harness, name: &str) -> Result<Vec<String>> {
    Ok(harness
        .events("Component", name)
        .await?
        .into_iter()
        .map(|(reason, _)| reason)
        .collect())
}

#[tokio::test]
async fn a_component_on_its_own_is_built_runs_tells_and_goes() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    // The sample's application without its databases, and a sibling that waits for it.
    let mut app = sample()?
        .pointer("/components")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    app.retain(|component| component.get("build").is_some());
    let mut app = app.pop().context("no component with a build")?;
    app.as_object_mut()
        .context("no object")?
        .remove("dependsOn");
    let mut after = plain()
        .pointer("/components/0")
        .cloned()
        .context("no component")?;
    let on = json!([{"componentName": app.get("name")}]);
    after
        .as_object_mut()
        .context("no object")?
        .insert("dependsOn".into(), on);
    apply(&harness, "after", after).await?;
    let made = apply(&harness, "app", app).await?;
    let uid = made.uid().context("no uid")?;
    let ready = healthy(&harness, "app").await?;

    // As the deployer looks for it.
    let ours = ListParams::default().labels(&format!("{}={uid}", labels::WORKSPACE_UID));
    let builds = harness.all::<Build>().list(&ours).await?.items;
    let [build] = builds.as_slice() else {
        anyhow::bail!("{} Builds", builds.len())
    };
    assert_eq!(
        ready.status.and_then(|status| status.latest_build),
        build.metadata.name
    );
    ensure!(build.labels().get(labels::WORKSPACE).is_none());
    ensure!(
        build
            .owner_references()
            .iter()
            .any(|owner| owner.uid == uid && owner.controller == Some(true))
    );
    healthy(&harness, "after").await?;
    let published = async || {
        Ok(reasons(&harness, "app").await?.len() >= 2
            && !reasons(&harness, "after").await?.is_empty())
    };
    until("it is published on them", published).await?;
    assert_eq!(
        (
            reasons(&harness, "app").await?,
            reasons(&harness, "after").await?
        ),
        (
            vec!["Building".into(), "Ready".into()],
            vec!["Ready".into()]
        )
    );

    // Nothing outside, so nothing holds it; garbage collection, which this API server lacks, takes
    // what it owns.
    harness
        .all::<Component>()
        .delete("app", &DeleteParams::default())
        .await?;
    until("it is gone", async || {
        Ok(harness.all::<Component>().get_opt("app").await?.is_none())
    })
    .await?;
    let builds = harness.count::<Build>().await?;
    harness.resyncs().await;
    assert_eq!(
        (
            harness.count::<Component>().await?,
            harness.count::<Build>().await?
        ),
        (1, builds)
    );
    Ok(())
}
