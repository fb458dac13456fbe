//! What the tests of plans share: the sample, as it is once its build is published.

use clap::Parser as _;
use sequencer_api::host::Refusal;
use sequencer_api::{Build, Component, Workspace};
use serde_json::{Value, json};

use super::{Plan, View, plan};
use crate::args::{Args, Settings};
use crate::error::{Error, ObjectError};

pub(crate) const DIGEST: &str = "docker.io/myuser/ephemeralbuilds@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const OTHER_DIGEST: &str = "docker.io/myuser/ephemeralbuilds@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

pub(crate) fn settings(flags: &[&str]) -> Settings {
    let resources = r#"{"requests":{"cpu":"50m","memory":"64Mi"},"limits":{"memory":"512Mi"}}"#;
    let needed = [
        "deployer",
        "--pod=a",
        "--namespace=r",
        "--cluster-id=c1",
        "--resources",
        resources,
    ];
    Args::parse_from(needed.iter().chain(flags)).settings
}

/// The settings of a chart with other defaults.
pub(crate) fn other_defaults() -> Settings {
    let mut settings = settings(&[]);
    settings.resources = serde_json::from_value(json!({"limits": {"memory": "1Gi"}})).unwrap();
    settings
}

/// The same view with another Build that made this image from another commit.
pub(crate) fn pushed(mut view: View, image: &str) -> View {
    let mut next = json!(build("build-2", "2026-01-02T00:00:00Z", Some(image)));
    next["spec"]["importContent"][0]["contentFrom"]["git"]["commit"] =
        "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00".into();
    view.builds.push(serde_json::from_value(next).unwrap());
    view
}

/// The sample's Workspace with changes of its spec.
pub(crate) fn workspace(change: impl FnOnce(&mut Value)) -> Workspace {
    let text = include_str!("../../../api/samples/workspace.yaml");
    let mut sample: Value = serde_yaml::from_str(text).unwrap();
    sample["metadata"] = json!({
        "name": "workspace-sample-x7k2p", "namespace": "sequencer-system", "generation": 1,
        "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10",
    });
    sample["status"] = json!({"host": "workspace-sample-x7k2p-3fq7ad.yourdomain.com"});
    change(&mut sample["spec"]);
    serde_json::from_value(sample).unwrap()
}

/// A component of a Workspace.
pub(crate) fn component(workspace: &Workspace, name: &str) -> Component {
    let template = workspace
        .spec
        .components
        .iter()
        .find(|component| component.name == name)
        .unwrap();
    let object = sequencer_api::names::Owner::of(workspace);
    let body = json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Component",
        "metadata": {
            "name": object.component(name), "namespace": "sequencer-system", "generation": 1,
            "uid": format!("00000000-0000-0000-0000-0000000000{:02}", name.len()),
        },
        "spec": template,
    });
    serde_json::from_value(body).unwrap()
}

/// A Build of the sample.
pub(crate) fn build(object: &str, created: &str, image: Option<&str>) -> Build {
    let workspace = workspace(|_spec| ());
    let spec = workspace
        .spec
        .components
        .iter()
        .find_map(|component| component.build.clone())
        .unwrap();
    let mut spec = json!(spec);
    spec["importContent"][0]["contentFrom"]["git"]["commit"] =
        "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a".into();

    let publish = image.map_or(
        json!({}),
        |image| json!({"state": "Completed", "image": image}),
    );

    serde_json::from_value(json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "spec": spec, "status": {"publish": publish},
        "metadata": {"name": object, "namespace": "sequencer-system", "creationTimestamp": created},
    }))
    .unwrap()
}

/// A component of the sample with changes of the Workspace's spec, and its published Build.
pub(crate) fn view(name: &str, change: impl FnOnce(&mut Value)) -> View {
    let workspace = workspace(change);
    let all: Vec<_> = workspace
        .spec
        .components
        .iter()
        .map(|each| component(&workspace, &each.name))
        .collect();
    let (own, siblings): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|each| each.spec.template.name == name);
    let builds = vec![build("build-1", "2026-01-01T00:00:00Z", Some(DIGEST))];

    View {
        component: own.into_iter().next().unwrap(),
        workspace: Some(workspace),
        siblings,
        builds,
    }
}

/// The plan of a Component, or why it is refused.
pub(crate) fn planned(view: &View, settings: &Settings) -> Result<Plan, Refusal> {
    plan(view, settings).map_err(refusal)
}

/// The refusal that an error is. No other is one of the object's spec.
pub(crate) fn refusal(error: Error) -> Refusal {
    match error {
        Error::Object(ObjectError::Refused(refusal)) => refusal,
        error => panic!("{error}"),
    }
}
