//! What becomes of the sample as a whole, and of changes of it.

mod builds;
mod forbidden;
mod labels;
mod pods;
mod revisions;
mod services;
mod values;

use serde_json::{Value, json};

use super::testing::{planned, settings, view};
use super::*;

/// The rendered pod template of a component whose first container, or whole template, is changed.
fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let workload = planned(&view(name, change), &settings(&[]))
        .unwrap()
        .workload
        .unwrap();
    workload.object.body["spec"]["template"].clone()
}

#[test]
fn the_sample_renders_as_it_always_did() {
    let plan = planned(&view("click-mania", |_spec| ()), &settings(&[])).unwrap();
    let workload = plan.workload.unwrap();
    let objects: Vec<_> = plan
        .services
        .iter()
        .chain(&plan.policies)
        .chain([&workload.object])
        .map(|object| &object.body)
        .collect();
    let golden: Value = serde_yaml::from_str(include_str!("golden.yaml")).unwrap();
    let text = |objects: &Value| serde_yaml::to_string(objects).unwrap();
    assert_eq!(text(&json!(objects)), text(&golden));
}

#[test]
fn nothing_is_planned_that_would_belong_to_nobody() {
    let unstored = |change: fn(&mut View)| {
        let mut view = view("redis", |_spec| ());
        change(&mut view);
        matches!(plan(&view, &settings(&[])), Err(Error::Unstored))
    };

    assert!(!unstored(|_view| ()));
    assert!(unstored(|view| view.component.metadata.uid = None));
    assert!(unstored(|view| {
        view.workspace.as_mut().unwrap().metadata.uid = None;
    }));
}

#[test]
fn the_revision_changes_with_the_template_alone() {
    let revision = |change: fn(&mut Value)| {
        let workload = planned(&view("redis", change), &settings(&[]))
            .unwrap()
            .workload
            .unwrap();
        (
            workload.revision.clone(),
            workload.object.revision().map(str::to_owned),
        )
    };

    let plain = revision(|_spec| ());
    assert_eq!(plain, revision(|_spec| ()));
    let scaled = revision(|spec| spec["components"][0]["replicas"] = json!(3));
    assert!(scaled.0 == plain.0 && scaled.1 != plain.1);

    let changed = revision(|spec| {
        spec["components"][0]["template"]["containers"][0]["args"] = json!(["--x"])
    });
    assert!(changed.0 != plain.0 && changed.1 != plain.1);
}
