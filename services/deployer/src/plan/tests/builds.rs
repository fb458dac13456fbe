//! Which Build a component runs, and with which login its image is pulled.

use sequencer_api::status::component::ComponentStatus;
use sequencer_api::{Build, names};
use serde_json::{Value, json};

use crate::plan::testing::{DIGEST, OTHER_DIGEST, build, planned, settings, view};

#[test]
fn the_old_build_serves_until_the_new_is_published() {
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let runs = |latest: &str, serves: Option<&str>, builds: Vec<Build>| {
        let mut view = view("click-mania", |_spec| ());
        let mut status = ComponentStatus {
            latest_build: Some(latest.into()),
            ..ComponentStatus::default()
        };

        status.deploy.build = serves.map(Into::into);
        view.component.status = Some(status);
        view.builds = builds;
        planned(&view, &settings(&[]))
            .unwrap()
            .workload
            .unwrap()
            .used
            .build()
            .unwrap()
            .object
            .clone()
    };

    let (a, b, c) = (
        build("a", old, Some(DIGEST)),
        build("b", new, Some(OTHER_DIGEST)),
        build("c", new, None),
    );
    assert_eq!(runs("b", Some("a"), vec![a.clone(), b.clone()]), "b");
    assert_eq!(
        runs("c", Some("a"), vec![a.clone(), b.clone(), c.clone()]),
        "a"
    );
    assert_eq!(runs("c", None, vec![a.clone(), b.clone(), c]), "b");
    assert_eq!(runs("a", Some("b"), vec![a, b]), "a");
}

#[test]
fn a_build_that_follows_a_branch_has_the_commit_that_it_was_made_from() {
    let commit = |build: Build| {
        let mut view = view("click-mania", |_spec| ());
        view.builds = vec![build];
        let workload = planned(&view, &settings(&[])).unwrap().workload;
        workload
            .ok()
            .map(|workload| workload.used.builds[0].commit.clone())
    };

    let mut follows = json!(build("a", "2026-01-01T00:00:00Z", Some(DIGEST)));
    let git = &mut follows["spec"]["importContent"][0]["contentFrom"]["git"];
    git.as_object_mut().unwrap().remove("commit");
    assert_eq!(
        commit(serde_json::from_value(follows.clone()).unwrap()),
        None
    );

    let sources = json!([{"path": ".", "url": "https://github.com/a/b", "commit": "c0ffee"}]);
    follows["status"]["image"] = json!({"state": "Completed", "sources": sources});
    assert_eq!(
        commit(serde_json::from_value(follows).unwrap()).as_deref(),
        Some("c0ffee")
    );
}

#[test]
fn a_login_of_this_namespace_becomes_a_pull_secret_and_no_other() {
    let with = |change: fn(&mut Value)| {
        let mut view = view("click-mania", |_spec| ());
        let mut build = json!(view.builds[0]);
        change(&mut build["spec"]["containerRegistries"][0]["credentials"]);
        view.builds = vec![serde_json::from_value(build).unwrap()];
        let pod = planned(&view, &settings(&[]))
            .unwrap()
            .workload
            .unwrap()
            .object
            .body;
        pod.pointer("/spec/template/spec/imagePullSecrets/0/name")
            .cloned()
    };
    let name = names::pull_secret(view("click-mania", |_spec| ()).name());
    assert_eq!(with(|_credentials| ()), Some(json!(name)));
    assert_eq!(
        with(|credentials| credentials["secretRef"]["namespace"] = json!("other")),
        None
    );
    assert_eq!(with(|credentials| *credentials = json!(null)), None);
    assert_eq!(
        with(|credentials| *credentials = json!({"authScheme": "aws"})),
        None
    );
}
