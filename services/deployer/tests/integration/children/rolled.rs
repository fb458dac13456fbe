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

/// How often the template of each Deployment was changed, and its first container's request.
async fn rolled_out(harness: &Harness) -> Result<BTreeMap<String, (i64, bool)>> {
    let deployments = harness.api::<Deployment>();
    let found = deployments.list(&ListParams::default()).await?;

    let state = |deployment: Deployment| {
        let spec = deployment.spec.clone().unwrap_or_default();
        let pod = json!(spec.template.spec);
        let request = &pod["containers"][0]["resources"]["requests"]["memory"];
        let generation = deployment.metadata.generation.unwrap_or_default();
        (
            deployment.name_any(),
            (generation, *request == json!("17Mi")),
        )
    };
    Ok(found.into_iter().map(state).collect())
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

    let harness = harness.configured(&[OTHER_DEFAULTS])?;
    for component in names {
        harness.deploy(&workspace, component).await?;
    }

    // The one that is held back serves as before, and its own fields are as planned.
    let held_back = name(&workspace, "d");
    let states = rolled_out(&harness).await?;
    let changed = states.values().filter(|state| state.1).count();
    assert_eq!((changed, states[&held_back]), (3, (1, false)), "{states:?}");
    let section = harness.section(&workspace, "d", |_section| true).await?;
    assert!(healthy(&section), "{section:#}");
    let patch = json!({"spec": {"progressDeadlineSeconds": 77}});
    harness.patch("component", &held_back, &patch)?;
    harness.deploy(&workspace, "d").await?;
    let field = |path| {
        harness
            .cluster
            .field(&format!("deployment/{held_back}"), path)
    };
    assert_eq!(field(".spec.progressDeadlineSeconds")?, "77");
    assert_eq!(rolled_out(&harness).await?[&held_back], (2, false));

    deploy_until_healthy(&harness, "a").await?;
    harness.deploy(&workspace, "d").await?;
    assert_eq!(rolled_out(&harness).await?[&held_back], (3, true));
    Ok(())
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
