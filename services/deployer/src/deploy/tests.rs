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
        let behind = behind(&follower(runs, latest)).into_iter();
        behind.map(|wait| wait.component_name).collect::<Vec<_>>()
    };
    let app = ["click-mania"];

    // What never ran is told by its conditions.
    assert!(waits(None, "build-2").is_empty());
    assert!(waits(Some("build-1"), "build-1").is_empty());
    assert_eq!(waits(Some("build-1"), "build-2"), app);
    // One that is nobody's any more says nothing.
    assert!(waits(Some("another"), "build-2").is_empty());
}
