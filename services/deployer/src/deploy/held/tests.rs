use kube::Resource as _;
use serde_json::json;

use super::*;
use crate::plan::testing;

/// `mysql`, which waits for the application, which runs one of its Builds and wants another.
fn follower(runs: Option<&str>, latest: &str) -> View {
    let mut view = testing::view("mysql", |spec| {
        for component in spec["components"].as_array_mut().unwrap() {
            component.as_object_mut().unwrap().remove("dependsOn");
            if component["name"] == "mysql" {
                let on = json!({"componentName": "click-mania", "conditionType": "Pod", "conditionStatus": "Healthy"});
                component["dependsOn"] = json!([on]);
            }
        }
    });
    let mut siblings = view.siblings.iter_mut();
    let app = siblings
        .find(|sibling| sibling.spec.template.name == "click-mania")
        .unwrap();
    let status = json!({"latestBuild": latest, "deploy": {"build": runs}});
    app.status = serde_json::from_value(status).unwrap();

    let owners = app.controller_owner_ref(&()).map(|owner| vec![owner]);
    view.builds = vec![
        testing::build("build-1", "2026-01-01T00:00:00Z", Some(testing::DIGEST)),
        testing::build("build-2", "2026-01-02T00:00:00Z", None),
    ];
    for build in &mut view.builds {
        build.metadata.owner_references.clone_from(&owners);
    }
    view
}

#[test]
fn whoever_follows_waits_until_what_it_follows_runs_the_newest_build() {
    let waits = |runs, latest| {
        let held = by_dependencies(&follower(runs, latest)).into_iter();
        let held = held.filter(|wait| wait.now.as_deref() == Some("an older version"));
        held.map(|wait| wait.component_name).collect::<Vec<_>>()
    };
    let app = ["click-mania"];

    // What never ran is told by its conditions.
    assert!(waits(None, "build-2").is_empty());
    assert!(waits(Some("build-1"), "build-1").is_empty());
    assert_eq!(waits(Some("build-1"), "build-2"), app);
    // One that is nobody's any more says nothing.
    assert!(waits(Some("another"), "build-2").is_empty());
}

/// What the application waits for once its spec was edited so, whose Build of before is published.
fn edited(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<WaitingFor> {
    let mut view = testing::view("click-mania", |spec| {
        edit(&mut spec["components"][2]["build"]);
    });
    let used = |view: &View| {
        let plan = testing::planned(view, &testing::settings(&[])).unwrap();
        plan.workload.unwrap().used
    };
    for sibling in &mut view.siblings {
        sibling.status = None;
    }
    by_builds(&view, &used(&view))
}

#[test]
fn a_template_waits_for_the_build_that_its_spec_asks_for_and_not_for_a_branch() {
    assert_eq!(edited(|_build| ()), []);

    let commit = "5f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a";
    for (at, value) in [
        ("/importContent/0/contentFrom/git/commit", json!(commit)),
        ("/importContent/0/contentFrom/git/ref", json!("another")),
        ("/dockerfile", json!("Dockerfile.another")),
    ] {
        let waits = edited(|build| {
            let (parent, field) = at.rsplit_once('/').unwrap();
            build.pointer_mut(parent).unwrap()[field] = value;
        });
        let names: Vec<_> = waits
            .iter()
            .map(|wait| wait.component_name.as_str())
            .collect();
        assert_eq!(names, ["click-mania"], "{at}");
    }
}
