use std::sync::Arc;

use jiff::Timestamp;
use sequencer_api::Component;
use serde_json::{Value, json};

use super::*;
use crate::chart::Chart;
use crate::owned::Owned;

fn component(name: &str, on: &str, status: &Value) -> Component {
    let depends_on: Vec<_> = on
        .split_terminator(',')
        .map(|on| json!({"componentName": on}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "generation": 1},
        "spec": {"name": name, "dependsOn": depends_on, "template": {"containers": []}},
        "status": status,
    }))
    .unwrap()
}

/// A deploy section that failed with this code.
fn failed(code: Code) -> Value {
    let failure = json!({"code": code, "message": "words"});
    json!({"state": "Error", "observedGeneration": 1, "replicas": 1, "failure": failure})
}

fn view(component: &Component, components: &[&Component]) -> ComponentView {
    let components = components.iter().map(|each| Arc::new((*each).clone()));
    let owned = Owned {
        components: components.collect(),
        ..Owned::default()
    };
    let (chart, now) = (Arc::new(Chart::default()), Timestamp::UNIX_EPOCH);
    ComponentView::new(component.clone().into(), owned.into(), &chart, now)
}

/// The Component with the status that the watcher derives.
fn derived(component: &Component) -> Component {
    let mut derived = component.clone();
    derived.status = Some(status(&view(component, &[])));
    derived
}

#[test]
fn what_waits_for_a_failed_component_has_its_code_and_no_trouble_of_its_own() {
    let crash = json!({"deploy": failed(Code::CrashLoop)});
    let db = derived(&component("db", "", &crash));
    let app = component("app", "db", &json!({}));
    let (of_db, of_app) = (view(&db, &[&db, &app]), view(&app, &[&db, &app]));

    let crash = Reason::Code(Code::CrashLoop);
    assert_eq!(of_app.ready().reason, crash);
    assert_eq!(trouble(&of_app), None);
    assert_eq!(trouble(&of_db).map(|trouble| trouble.reason), Some(crash));
}

#[test]
fn components_that_wait_for_each_other_end_with_a_word_on_each() {
    let (one, two) = (
        component("one", "two", &json!({})),
        component("two", "one", &json!({})),
    );
    let circle = Reason::Code(Code::DependencyCycle);
    assert_eq!(view(&one, &[&one, &two]).ready().reason, circle);
}

#[test]
fn what_is_wrong_stands_at_the_condition_that_its_code_belongs_to() {
    for (code, kind) in [
        (Code::VariableNameUnknown, ConditionType::Variables),
        (Code::ImagePullFailed, ConditionType::Pod),
    ] {
        let status = json!({"deploy": failed(code)});
        let app = component("app", "", &status);
        let failing: Vec<_> = own(&view(&app, &[]))
            .into_iter()
            .filter(|(_, summary)| summary.reason == Reason::Code(code))
            .map(|(kind, _)| kind)
            .collect();
        assert_eq!(failing, [kind]);
    }
}

#[test]
fn a_sibling_that_its_workspace_changed_since_holds_back_what_waits_for_it() {
    let ready = json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "Healthy", "message": "",
        "observedGeneration": 1, "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]});
    let (db, app) = (
        component("db", "", &ready),
        component("app", "db", &json!({})),
    );
    let may_start = |port: i32| {
        let mut wanted = db.spec.template.clone();
        wanted.networks = serde_json::from_value(json!([{"name": "tcp", "port": port}])).unwrap();
        let mut found = db.clone();
        found.spec.template.networks =
            serde_json::from_value(json!([{"name": "tcp", "port": 1}])).unwrap();

        let workspace = json!({
            "metadata": {"name": "w", "namespace": "n", "uid": "w"},
            "spec": {"components": [wanted, app.spec.template]},
        });
        let owned = Owned {
            workspace: Some(Arc::new(serde_json::from_value(workspace).unwrap())),
            components: vec![found.into(), app.clone().into()],
            ..Owned::default()
        };

        let (chart, now) = (Arc::new(Chart::default()), Timestamp::UNIX_EPOCH);
        ComponentView::new(app.clone().into(), owned.into(), &chart, now).may_start()
    };

    assert!(may_start(1));
    assert!(!may_start(2));
}

#[test]
fn pods_that_were_made_of_other_values_than_those_of_now_are_not_what_the_spec_says() {
    let mut app = component("app", "", &json!({}));
    let container =
        json!({"name": "c", "image": "i", "env": [{"name": "A", "value": "${variables::A}"}]});
    app.spec.template.template.containers = vec![serde_json::from_value(container).unwrap()];

    // Deployed with this value, in a Workspace that has that one.
    let shown = |deployed: &str, wanted: &str| {
        let seen = |value: &str, deploy: &Value| {
            let mut app = app.clone();
            app.status = serde_json::from_value(json!({"deploy": deploy})).unwrap();
            let workspace = json!({
                "metadata": {"name": "w", "namespace": "n", "uid": "w"},
                "spec": {"variables": [{"name": "A", "value": value}], "components": [app.spec.template]},
            });
            let owned = Owned {
                workspace: Some(Arc::new(serde_json::from_value(workspace).unwrap())),
                components: vec![app.clone().into()],
                ..Owned::default()
            };
            let (chart, now) = (Arc::new(Chart::default()), Timestamp::UNIX_EPOCH);
            ComponentView::new(app.into(), owned.into(), &chart, now)
        };

        let inputs = seen(deployed, &json!({})).inputs;
        let deploy = json!({
            "state": "Healthy", "observedGeneration": 1, "revision": "r", "inputs": inputs,
        });
        seen(wanted, &deploy).ready().reason
    };

    assert_eq!(shown("one", "one"), Reason::Healthy);
    assert_eq!(shown("one", "two"), Reason::InProgress);
}

/// What `Ready` says of a Component with this deploy section.
fn said(deploy: &Value) -> Summary {
    let app = component("app", "", &json!({"deploy": deploy}));
    let db = component("db", "", &json!({}));
    view(&app, &[&app, &db]).ready()
}

#[test]
fn what_the_deployer_waits_for_is_said_of_a_component_without_depends_on_too() {
    let awaited =
        json!([{"componentName": "db", "conditionType": "Build", "conditionStatus": "Completed"}]);
    let held = said(&json!({"state": "Waiting", "observedGeneration": 1, "waitingFor": awaited}));
    assert_eq!(held.reason, Reason::Waiting);
    assert_eq!(
        held.message,
        "waiting for db Build Completed (not reported yet)"
    );

    let starts = said(&json!({"state": "Waiting", "observedGeneration": 1}));
    assert_eq!(starts.message, "starting");
}

#[test]
fn as_many_ready_pods_as_are_wanted_are_no_reason_for_a_component_that_is_not() {
    let deploy = |ready: i32| {
        json!({
            "state": "InProgress", "observedGeneration": 1, "revision": "r", "kind": "Deployment",
            "replicas": 2, "readyReplicas": ready,
        })
    };
    let up_to_date = |ready: i32| {
        let mut app = component("app", "", &json!({}));
        let mut deploy = deploy(ready);
        deploy["inputs"] = json!(view(&app, &[&app]).inputs);
        app.status = serde_json::from_value(json!({"deploy": deploy})).unwrap();
        view(&app, &[&app]).ready().message
    };
    assert_eq!(up_to_date(1), "1 of 2 ready");
    assert_eq!(up_to_date(2), "rolling out");
}

#[test]
fn what_is_held_back_beside_pods_that_run_is_the_new_version() {
    let held = |kind: &Value| {
        let deploy = json!({"state": "Waiting", "observedGeneration": 1, "kind": kind});
        let app = component("app", "db", &json!({"deploy": deploy}));
        let db = component("db", "", &json!({}));
        pod(&view(&app, &[&app, &db])).message
    };
    assert_eq!(
        held(&json!("Deployment")),
        "the new version has not started yet"
    );
    assert_eq!(held(&Value::Null), "not started yet");
}
