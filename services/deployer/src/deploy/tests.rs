use serde_json::json;

use super::*;
use crate::plan::testing;

/// `mysql`, which waits for the built application, which runs this revision.
fn follower(revision: Option<&str>, latest: &str) -> View {
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
    let status = json!({"latestBuild": latest, "deploy": {"revision": revision}});
    app.status = serde_json::from_value(status).unwrap();
    view
}

#[test]
fn whoever_follows_waits_until_what_it_follows_has_reached_the_newest_version() {
    let settings = testing::settings(&[]);
    let newest = |view: &View| {
        let app = view.sibling("click-mania").unwrap();
        plan(&app, &settings).unwrap().workload.unwrap().revision
    };
    let waits = |view: &View| {
        let behind = behind(view, &settings);
        let names = behind.into_iter().map(|wait| wait.component_name);
        names.collect::<Vec<_>>()
    };
    let app = vec!["click-mania".to_owned()];

    // What never ran is told by its conditions.
    let young = follower(None, "build-1");
    assert_eq!(waits(&young), Vec::<String>::new());
    let first = newest(&young);
    assert_eq!(
        waits(&follower(Some(&first), "build-1")),
        Vec::<String>::new()
    );
    assert_eq!(waits(&follower(Some("another"), "build-1")), app);

    // A newer Build that is not published yet, and one that is.
    let digest = "docker.io/myuser/ephemeralbuilds@sha256:bbbb";
    for image in [None, Some(digest)] {
        let mut view = follower(Some(&first), "build-2");
        let build = testing::build("build-2", "2026-01-02T00:00:00Z", image);
        view.builds.push(build);
        assert_eq!(waits(&view), app, "{image:?}");

        if image.is_some() {
            let mut reached = follower(Some(&newest(&view)), "build-2");
            reached.builds.clone_from(&view.builds);
            assert_eq!(waits(&reached), Vec::<String>::new());
        }
    }
}
