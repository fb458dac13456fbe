use serde_json::{Value, json};

use super::*;

const UID: &str = "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10";

fn at(second: i64) -> String {
    Timestamp::from_second(1_000_000 + second)
        .unwrap()
        .to_string()
}

fn workspace() -> Workspace {
    let component = json!({"name": "web", "template": {"containers": []}});
    let value = json!({
        "metadata": {"name": "w", "namespace": "n", "uid": UID, "generation": 1, "creationTimestamp": at(0)},
        "spec": {"components": [component]},
    });
    serde_json::from_value(value).unwrap()
}

/// A component whose branch was seen then, and its Build with these sections.
fn owned(seen: Option<i64>, commit: &str, build: Option<Value>) -> Owned {
    let git = json!({"git": {"url": "https://g/r", "ref": "b"}});
    let spec = json!({
        "name": "app", "containerRegistries": [{"url": "r.test/a", "tags": ["t"]}], "importContent": [{"path": ".", "contentFrom": git}],
    });
    let imports: Vec<_> = seen
        .iter()
        .map(|_| json!({"path": ".", "url": "https://g/r", "ref": "b", "commit": commit}))
        .collect();
    let source = json!({"changedAt": seen.map(at), "imports": imports});
    let component = json!({
        "metadata": {"name": "w-web", "uid": "c", "generation": 1},
        "spec": {"name": "web", "build": spec, "template": {"containers": []}}, "status": {"source": source},
    });
    let component: Component = serde_json::from_value(component).unwrap();
    let build = build.map(|status| {
        let mut build = desired(&component, &Owned::default()).unwrap();
        build.metadata.creation_timestamp =
            serde_json::from_value(at(seen.unwrap_or_default()).into()).unwrap();
        build.status = serde_json::from_value(status).unwrap();
        build.into()
    });
    Owned {
        components: vec![component.into()],
        builds: build.into_iter().collect(),
        ..Owned::default()
    }
}

fn published(start: i64) -> Value {
    let registry = json!({"url": "r.test/a", "state": "Completed", "completedAt": at(start + 13)});
    json!({
        "image": {"state": "Completed", "startedAt": at(start), "completedAt": at(start + 10)},
        "publish": {"state": "Completed", "registries": [registry]},
    })
}

fn conditions(list: &[(&str, &str, i64)]) -> Vec<Condition> {
    let one = |(kind, status, since): &(&str, &str, i64)| {
        let word = if *status == "True" {
            "Healthy"
        } else {
            "InProgress"
        };
        let value = json!({"type": kind, "status": status, "reason": word, "message": "", "lastTransitionTime": at(*since)});
        serde_json::from_value(value).unwrap()
    };
    list.iter().map(one).collect()
}

fn shown(timings: &[Timing]) -> Vec<(Stage, i64, Option<i64>)> {
    let second = |time: &Time| time.0.as_second() - 1_000_000;
    let one = |timing: &Timing| {
        (
            timing.stage,
            second(&timing.started_at),
            timing.completed_at.as_ref().map(second),
        )
    };

    timings.iter().map(one).collect()
}

#[test]
fn each_stage_of_a_roll_out_has_its_time() {
    let none = timings(
        &workspace(),
        &owned(None, "", None),
        &[],
        &conditions(&[("Components", "False", 0)]),
    );
    assert_eq!(shown(&none), [(Stage::Source, 0, None)]);
    let building = json!({"image": {"state": "InProgress", "startedAt": at(3)}});
    let conditions_then = conditions(&[
        ("Components", "False", 0),
        ("Tunnel", "False", 1),
        ("DNS", "False", 0),
    ]);
    let under_way = timings(
        &workspace(),
        &owned(Some(2), "a", Some(building)),
        &none,
        &conditions_then,
    );
    let wanted = [
        (Stage::Source, 0, Some(2)),
        (Stage::Queue, 2, Some(3)),
        (Stage::Build, 3, None),
        (Stage::Tunnel, 1, None),
    ];
    assert_eq!(shown(&under_way), wanted);

    let all = [
        ("Components", "True", 20),
        ("Tunnel", "True", 5),
        ("DNS", "True", 22),
        ("Route", "True", 25),
    ];
    let done = timings(
        &workspace(),
        &owned(Some(2), "a", Some(published(3))),
        &under_way,
        &conditions(&all),
    );
    let wanted = [
        (Stage::Source, 0, Some(2)),
        (Stage::Queue, 2, Some(3)),
        (Stage::Build, 3, Some(13)),
        (Stage::Publish, 13, Some(16)),
        (Stage::Deploy, 16, Some(20)),
        (Stage::Tunnel, 1, Some(5)),
        (Stage::Dns, 20, Some(22)),
        (Stage::Route, 22, Some(25)),
    ];
    assert_eq!(shown(&done), wanted);
    assert_eq!(took(&done), "build 10 s, publish 3 s, deploy 4 s");

    let again = timings(
        &workspace(),
        &owned(Some(2), "a", Some(published(3))),
        &done,
        &conditions(&all),
    );
    assert_eq!(again, done);
}

#[test]
fn a_later_commit_has_times_of_its_own_and_what_did_not_run_again_keeps_its_last() {
    let all = |since| {
        conditions(&[
            ("Components", "True", since),
            ("Tunnel", "True", 5),
            ("DNS", "True", 22),
            ("Route", "True", 25),
        ])
    };

    let tunnel = conditions(&[("Components", "False", 0), ("Tunnel", "False", 1)]);
    let begun = timings(&workspace(), &owned(Some(2), "a", None), &[], &tunnel);
    let first = timings(
        &workspace(),
        &owned(Some(2), "a", Some(published(3))),
        &begun,
        &all(20),
    );
    let later = timings(
        &workspace(),
        &owned(Some(502), "b", Some(published(503))),
        &first,
        &all(520),
    );
    let wanted = [
        (Stage::Source, 502, Some(502)),
        (Stage::Queue, 502, Some(503)),
        (Stage::Build, 503, Some(513)),
        (Stage::Publish, 513, Some(516)),
        (Stage::Deploy, 516, Some(520)),
        (Stage::Tunnel, 1, Some(5)),
        (Stage::Dns, 20, Some(22)),
        (Stage::Route, 22, Some(25)),
    ];
    assert_eq!(shown(&later), wanted);
}
