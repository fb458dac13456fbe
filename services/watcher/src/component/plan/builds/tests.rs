use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::Component;
use sequencer_runtime::patch::Operation;
use serde_json::Value;

use super::*;
use crate::chart::Chart;
use crate::owned::Owned;
use crate::plan::Creation;

/// A Component on its own whose branch is at this commit.
fn component(name: &str, commit: &str) -> Component {
    let git = json!({"git": {"url": "https://g/r", "ref": "b"}});
    let spec = json!({
        "name": "app", "containerRegistries": [{"url": "r.test/a", "tags": ["dev"]}],
        "importContent": [{"path": ".", "contentFrom": git}],
    });
    let source =
        json!({"imports": [{"path": ".", "url": "https://g/r", "ref": "b", "commit": commit}]});
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "generation": 1, "labels": {"theirs": "own"}},
        "spec": {"name": "web", "build": spec, "template": {"containers": []}}, "status": {"source": source},
    }))
    .unwrap()
}

/// The Build of a commit with this section, marked by another or not.
fn build(commit: &str, publish: &Value, by: Option<&str>) -> Arc<Build> {
    let mut build = desired(&component("web", commit), &Owned::default()).unwrap();
    build.metadata.generation = Some(1);
    build.metadata.annotations =
        by.map(|by| BTreeMap::from([(labels::SUPERSEDED_BY.into(), by.into())]));
    let image = json!({"state": "Completed", "observedGeneration": 1});
    build.status = serde_json::from_value(json!({"image": image, "publish": publish})).unwrap();
    build.into()
}

fn name(commit: &str) -> String {
    build(commit, &json!({}), None).name_any()
}

fn view(component: Component, owned: Owned) -> ComponentView {
    let (chart, now) = (Arc::new(Chart::default()), Timestamp::UNIX_EPOCH);
    ComponentView::new(component.into(), owned.into(), &chart, now)
}

/// The verb of an action, and the name of its object.
fn shown(action: Action) -> (String, String) {
    let (verb, name) = match action {
        Action::Create(Creation::Build(build)) => ("create", build.name_any()),
        Action::Patch { target, operations } => match operations.as_slice() {
            [Operation::Add(_)] => ("add", target.name),
            [Operation::Remove(_)] => ("remove", target.name),
            other => panic!("{other:?}"),
        },
        Action::Delete(target) => ("delete", target.name),
        other @ Action::Create(_) => panic!("{other:?}"),
    };
    (verb.into(), name)
}

/// What is done when the branch is at a commit: the verb, and the name of the Build.
fn followed(commit: &str, builds: &[Arc<Build>]) -> Vec<(String, String)> {
    let component = component("web", commit);
    let owned = Owned {
        components: vec![component.clone().into()],
        builds: builds.to_vec(),
        ..Owned::default()
    };

    let mut plan = Plan::default();
    follow(&mut plan, &view(component, owned));
    plan.first
        .into_iter()
        .chain(plan.actions)
        .map(shown)
        .collect()
}

fn published() -> Value {
    json!({"state": "Completed", "observedGeneration": 1})
}

#[test]
fn an_older_build_is_marked_before_the_newer_one_is_made_unless_it_is_published() {
    let failed = json!({"state": "Error", "observedGeneration": 1});
    for publish in [json!({}), failed] {
        let older = build("a", &publish, None);
        assert_eq!(
            followed("b", &[older]),
            [("add".into(), name("a")), ("create".into(), name("b"))]
        );
    }
    assert_eq!(
        followed("b", &[build("a", &published(), None)]),
        [("create".into(), name("b"))]
    );
    let both = [
        build("a", &json!({}), Some("b")),
        build("b", &json!({}), None),
    ];
    assert_eq!(followed("b", &both), []);
}

#[test]
fn a_build_that_is_wanted_again_loses_its_mark_and_the_other_gets_one() {
    let (older, newer) = (
        build("a", &json!({}), Some("b")),
        build("b", &json!({}), None),
    );

    assert_eq!(
        followed("a", &[older.clone(), newer]),
        [("add".into(), name("b")), ("remove".into(), name("a"))]
    );

    let newer = build("b", &published(), None);
    assert_eq!(
        followed("a", &[older, newer]),
        [("remove".into(), name("a"))]
    );
}

#[test]
fn a_build_that_another_component_of_the_workspace_wants_is_not_overtaken() {
    let workspace = json!({"metadata": {"name": "w", "namespace": "n", "uid": "w"}, "spec": {"components": []}});
    let overtaken_beside = |commit: &str| {
        let components = vec![
            component("web", "b").into(),
            component("other", commit).into(),
        ];
        let workspace = Some(Arc::new(serde_json::from_value(workspace.clone()).unwrap()));
        let owned = Owned {
            workspace,
            components,
            ..Owned::default()
        };
        let older = desired(&component("web", "a"), &owned).unwrap();
        let owned = Owned {
            builds: vec![older.into()],
            ..owned
        };
        overtaken(&view(component("web", "b"), owned), "newer").count()
    };
    assert_eq!([overtaken_beside("a"), overtaken_beside("b")], [0, 1]);
}

#[test]
fn nothing_that_a_user_wrote_on_a_component_is_on_its_builds_and_no_workspace_is_claimed() {
    let build = build("a", &json!({}), None);
    assert!(
        !build.labels().contains_key("theirs") && !build.labels().contains_key(labels::WORKSPACE)
    );

    assert_eq!(
        build
            .labels()
            .get(labels::WORKSPACE_UID)
            .map(String::as_str),
        Some("web")
    );
}

#[test]
fn what_serves_is_kept_until_the_wanted_one_is_published() {
    let made = |commit: &str, second: i64| {
        let mut build = build(commit, &published(), None);
        let created = Timestamp::from_second(second).unwrap();
        Arc::make_mut(&mut build).metadata.creation_timestamp = Some(Time(created));
        build
    };

    let (serving, newer) = (made("a", 1), made("b", 2));
    let to_run = |wanted: &str, serves: Option<&Build>| {
        let mut component = component("web", wanted);
        let status = component.status.as_mut().unwrap();
        status.deploy.build = serves.map(ResourceExt::name_any);

        let owned = Owned {
            builds: vec![serving.clone(), newer.clone()],
            ..Owned::default()
        };

        view(component, owned).to_run
    };

    assert_eq!(to_run("c", Some(&serving)), Some(name("a")));
    assert_eq!(to_run("b", Some(&serving)), Some(name("b")));
    assert_eq!(to_run("c", None), Some(name("b")));
}

#[test]
fn all_builds_of_a_component_that_builds_nothing_any_more_go() {
    let mut component = component("web", "a");
    component.spec.template.build = None;

    let owned = Owned {
        builds: ["a", "b"]
            .map(|commit| build(commit, &published(), None))
            .into(),
        ..Owned::default()
    };

    let view = view(component, owned);
    let mut plan = Plan::default();
    prune(&mut plan, &view);

    let deletes = |action: &Action| matches!(action, Action::Delete(_));
    assert_eq!(
        plan.actions.iter().filter(|action| deletes(action)).count(),
        2
    );
    assert_eq!(view.to_run, None);
}

#[test]
fn a_component_that_runs_the_image_of_another_rolls_out_nothing_of_its_own() {
    let to_roll_out = |serving: &str| {
        let mut component = component("web", "b");
        component.status.as_mut().unwrap().deploy.build = Some(serving.into());

        let owned = Owned {
            builds: ["a", "b"]
                .map(|commit| build(commit, &published(), None))
                .into(),
            ..Owned::default()
        };

        view(component, owned).to_roll_out().map(ToOwned::to_owned)
    };

    assert_eq!(to_roll_out("another-s"), None);
    assert_eq!(to_roll_out(&name("a")), Some(name("b")));
    assert_eq!(to_roll_out(&name("b")), None);
}
