//! What makes pods anew, and what does not.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use sequencer_api::status::State;
use serde_json::{Value, json};

use super::healthy;
use crate::harness::{Harness, name, plain, until};

const OTHER_DEFAULTS: &str = r#"--resources={"requests":{"memory":"17Mi"}}"#;

/// The pod template of each Deployment: where it is another, pods are made anew.
async fn templates(harness: &Harness) -> Result<BTreeMap<String, Value>> {
    let deployments = harness.api::<Deployment>();
    let found = deployments.list(&ListParams::default()).await?;

    let template = |deployment: Deployment| {
        let spec = deployment.spec.clone().unwrap_or_default();
        (deployment.name_any(), json!(spec.template))
    };
    Ok(found.into_iter().map(template).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_defaults_of_the_chart_reach_a_few_deployments_at_a_time() -> Result<()> {
    let harness = Harness::still("defaults").await?;
    let names = ["a", "b", "c", "d"];
    let components: Vec<_> = names
        .iter()
        .map(|name| {
            let mut component = plain()[0].clone();
            component["name"] = json!(name);
            component
        })
        .collect();
    let workspace = harness.workspace(json!(components)).await?;
    let deploy_until_healthy = async |harness: &Harness, component: &str| {
        until(&format!("{component} is healthy"), async || {
            harness.deploy(&workspace, component).await?;
            let section = harness.section(&workspace, component, |_section| true);
            Ok(healthy(&section.await?))
        })
        .await
    };

    for component in names {
        deploy_until_healthy(&harness, component).await?;
    }

    let before = templates(&harness).await?;
    let harness = harness.configured(&[OTHER_DEFAULTS])?;
    for component in names {
        harness.deploy(&workspace, component).await?;
    }

    // The one that is held back serves as before.
    let held_back = name(&workspace, "d");
    let after = templates(&harness).await?;
    let kept: Vec<_> = before
        .iter()
        .filter(|(name, was)| after[*name] == **was)
        .collect();
    assert_eq!(kept, [(&held_back, &before[&held_back])]);
    let section = harness.section(&workspace, "d", |_section| true).await?;
    assert!(healthy(&section), "{section:#}");

    // What is its own is as planned all the same.
    let patch = json!({"spec": {"progressDeadlineSeconds": 77}});
    harness.patch("component", &held_back, &patch)?;
    harness.deploy(&workspace, "d").await?;
    let deployment = format!("deployment/{held_back}");
    let deadline = harness
        .cluster
        .field(&deployment, ".spec.progressDeadlineSeconds")?;
    assert_eq!(deadline, "77");
    assert_eq!(templates(&harness).await?, after);

    // Once another is done it is its turn.
    until("it is its turn", async || {
        for component in ["a", "d"] {
            harness.deploy(&workspace, component).await?;
        }
        let request = "/spec/containers/0/resources/requests/memory";
        let templates = templates(&harness).await?;
        Ok(templates[&held_back].pointer(request) == Some(&json!("17Mi")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_done_stays_done_whatever_the_chart_adds() -> Result<()> {
    let harness = Harness::still("donejob").await?;
    let container = json!({"name": "main", "image": "app-base:bookworm", "command": ["true"]});
    let template = json!({"restartPolicy": "Never", "containers": [container]});
    let workspace = harness
        .workspace(json!([{"name": "seed", "template": template}]))
        .await?;
    let job = name(&workspace, "seed");
    let jobs: Api<Job> = harness.api();
    let done = |section: &Value| section["state"] == json!(State::Completed);

    until("it is done", async || {
        harness.deploy(&workspace, "seed").await?;
        let section = harness.section(&workspace, "seed", |_section| true).await?;
        Ok(done(&section))
    })
    .await?;
    let ran = jobs.get(&job).await?.uid();

    let harness = harness.configured(&[OTHER_DEFAULTS])?;
    harness.patch(
        "component",
        &job,
        &json!({"spec": {"buildHistoryLimit": 4}}),
    )?;
    harness.deploy(&workspace, "seed").await?;
    let section = harness.section(&workspace, "seed", done).await?;
    assert_eq!(section["observedGeneration"], 2);
    assert_eq!(jobs.get(&job).await?.uid(), ran);

    jobs.delete(&job, &DeleteParams::background()).await?;
    until("it is gone", async || {
        Ok(jobs.get_opt(&job).await?.is_none())
    })
    .await?;
    harness.deploy(&workspace, "seed").await?;
    assert!(jobs.get_opt(&job).await?.is_none());
    Ok(())
}
