//! Labels that flow down to what is made, and labels that nobody may write.

use std::collections::BTreeMap;

use sequencer_api::labels;
use serde_json::json;

use crate::plan::testing::{planned, settings, view};

#[test]
fn nothing_that_a_user_writes_makes_a_pod_one_of_the_charts_or_another_workspaces() {
    let forged = [
        labels::PART,
        labels::WORKSPACE_UID,
        labels::COMPONENT,
        labels::MANAGED_BY,
        labels::NAME,
        labels::PART_OF,
    ];
    let forged: BTreeMap<_, _> = forged
        .map(|key| (key.to_owned(), "staging".to_owned()))
        .into();
    let mut view = view("redis", |spec| {
        spec["components"][0]["podMetadata"] = json!({"labels": forged, "annotations": forged});
    });
    let settings = settings(&[
        "--inherit-labels",
        &forged.keys().cloned().collect::<Vec<_>>().join(","),
    ]);

    view.component.metadata.labels = Some(forged.clone());
    view.workspace.as_mut().unwrap().metadata.labels = Some(forged.clone());
    for workspace in [view.workspace.clone(), None] {
        view.workspace = workspace;
        let plan = planned(&view, &settings).unwrap();
        let workload = plan.workload.unwrap().object.body;
        let template = &workload["spec"]["template"]["metadata"];
        let objects = plan.services.iter().chain(&plan.policies);
        let objects = objects.map(|object| &object.body["metadata"]["labels"]);
        let made = [
            &template["labels"],
            &template["annotations"],
            &workload["metadata"]["labels"],
        ];
        for pairs in made.into_iter().chain(objects) {
            assert_eq!(
                pairs
                    .as_object()
                    .unwrap()
                    .values()
                    .find(|value| **value == "staging"),
                None,
                "{pairs}"
            );
        }
    }
}

#[test]
fn a_label_of_the_list_flows_down_and_another_does_not() {
    let mut view = view("redis", |_spec| ());
    let theirs = [("team", "a"), ("example.com/cost", "b"), ("other", "c")];
    let theirs = theirs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    view.workspace.as_mut().unwrap().metadata.labels = Some(theirs.into());
    let workload = planned(
        &view,
        &settings(&["--inherit-labels=team,example.com/cost"]),
    )
    .unwrap()
    .workload
    .unwrap();
    let labels = &workload.object.body["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (
            &labels["team"],
            &labels["example.com/cost"],
            labels.get("other")
        ),
        (&json!("a"), &json!("b"), None)
    );
}
