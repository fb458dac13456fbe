//! What makes another revision of what runs, and what does not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::args::Settings;
use crate::plan::testing::{DIGEST, OTHER_DIGEST, other_defaults, planned, pushed, settings, view};
use crate::plan::{View, Workload};

/// The application of the sample, which runs its build; as a Job, or as a Deployment.
fn app(job: bool, change: impl FnOnce(&mut Value)) -> View {
    view("click-mania", |spec| {
        let components = spec["components"].as_array_mut().unwrap();
        let mut components = components.iter_mut();
        let app = components
            .find(|component| component["name"] == "click-mania")
            .unwrap();
        if job {
            app["template"]["restartPolicy"] = json!("OnFailure");
        }
        change(app);
    })
}

fn workload(view: &View, settings: &Settings) -> Workload {
    planned(view, settings).unwrap().workload.unwrap()
}

/// The hashes of what a user wrote, and of the whole template.
fn hashes(view: &View, settings: &Settings) -> (String, String) {
    let workload = workload(view, settings);
    let template = &workload.object.body["spec"]["template"];
    let annotations = &template["metadata"]["annotations"];
    assert_eq!(annotations["se.quencer.io/revision"], workload.revision);
    assert_eq!(annotations["se.quencer.io/template"], workload.template);
    (workload.revision, workload.template)
}

#[test]
fn what_the_chart_adds_is_no_other_revision_of_what_a_user_wrote() {
    for job in [false, true] {
        let view = app(job, |_app| ());
        let mut labelled = view.clone();
        labelled.workspace.as_mut().unwrap().metadata.labels =
            Some(BTreeMap::from([("team".into(), "a".into())]));
        let plain = hashes(&view, &settings(&[]));

        for (view, settings) in [
            (&view, other_defaults()),
            (&labelled, settings(&["--inherit-labels=team"])),
        ] {
            let other = hashes(view, &settings);
            assert_eq!(other.0, plain.0);
            assert_ne!(other.1, plain.1);
        }
    }
}

#[test]
fn a_commit_that_makes_the_same_image_is_no_other_revision_and_another_image_is() {
    for job in [false, true] {
        let (before, settings) = (app(job, |_app| ()), settings(&[]));
        let same = pushed(before.clone(), DIGEST);
        let other = pushed(before.clone(), OTHER_DIGEST);

        let commit = |view: &View| {
            let body = workload(view, &settings).object.body;
            body["metadata"]["labels"]["se.quencer.io/commit"].clone()
        };
        assert_eq!(commit(&same), "c0ffee00c0ff");
        assert_ne!(commit(&before), commit(&same));

        assert_eq!(hashes(&before, &settings), hashes(&same, &settings));
        assert_ne!(hashes(&before, &settings).0, hashes(&other, &settings).0);
    }
}

#[test]
fn a_commit_that_a_template_names_is_another_revision() {
    let before = app(true, |app| {
        app["template"]["containers"][0]["args"] = json!(["${build::myapp.commit}"]);
    });
    let after = pushed(before.clone(), DIGEST);
    let settings = settings(&[]);

    assert_ne!(hashes(&before, &settings).0, hashes(&after, &settings).0);
}

#[test]
fn whatever_a_user_writes_of_pods_is_another_revision() {
    let plain = hashes(&app(false, |_app| ()), &settings(&[])).0;
    let claim = json!({"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"]}});

    for (path, value) in [
        ("/template/containers/0/args", json!(["x"])),
        (
            "/template/containers/0/resources",
            json!({"limits": {"cpu": "1"}}),
        ),
        ("/template/securityContext", json!({"fsGroup": 1})),
        ("/podMetadata", json!({"labels": {"a": "b"}})),
        ("/podMetadata", json!({"annotations": {"a": "b"}})),
        ("/volumeClaimTemplates", json!([claim])),
        // What follows from them in the pods is the user's, too.
        ("/networks/0/targetPort", json!(8080)),
        ("/networks", json!([])),
        ("/build/containerRegistries/0/credentials", Value::Null),
    ] {
        let mut view = app(false, |app| {
            *path
                .split('/')
                .skip(1)
                .fold(app, |value, key| match key.parse::<usize>() {
                    Ok(index) => &mut value[index],
                    Err(_) => &mut value[key],
                }) = value;
        });
        let spec = view.template().build.clone().unwrap();
        view.builds[0].spec.container_registries = spec.container_registries;

        assert_ne!(hashes(&view, &settings(&[])).0, plain, "{path}");
    }
}

#[test]
fn networks_and_replicas_are_nothing_to_a_job() {
    let settings = settings(&[]);
    let plain = hashes(&app(true, |_app| ()), &settings);
    let without = app(true, |app| app["networks"] = json!([]));
    let paused = app(true, |app| app["paused"] = json!(true));

    assert_eq!(hashes(&without, &settings), plain);
    assert_eq!(hashes(&paused, &settings), plain);
}
