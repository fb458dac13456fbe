use serde_json::{Value, json};

use super::*;
use crate::readiness::Trouble;

const REFUSED: &str =
    "Readiness probe failed: dial tcp 10.244.0.5:5173: connect: connection refused";

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

fn pod(container: &Value) -> Pod {
    let mut status =
        json!({"name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 0});
    for (field, value) in container.as_object().unwrap() {
        status[field] = value.clone();
    }
    let metadata = json!({"name": "a-1", "annotations": {"se.quencer.io/revision": "r"}});
    let status = json!({"phase": "Running", "containerStatuses": [status]});
    serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
}

fn running(since: &str) -> Value {
    json!({"running": {"startedAt": since}})
}

fn event(message: &str, at: &str) -> Event {
    let about = json!({"kind": "Pod", "name": "a-1", "fieldPath": "spec.containers{web}"});
    let event =
        json!({"metadata": {}, "involvedObject": about, "message": message, "lastTimestamp": at});
    serde_json::from_value(event).unwrap()
}

fn health(state: State, trouble: Option<Trouble>) -> Health {
    Health {
        state,
        wanted: 1,
        ready: 0,
        serves: false,
        trouble,
        pulling: None,
        probe: None,
        again: None,
    }
}

fn trouble(code: Code, exit_code: Option<i32>) -> Trouble {
    Trouble {
        code,
        container: Some("web".into()),
        exit_code,
        message: "words".into(),
        log: None,
    }
}

#[test]
fn probes_are_asked_for_where_a_pod_runs_and_is_not_ready_or_was_killed() {
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "reason": "Error"}});

    for (container, asked) in [
        (json!({"state": running("2026-01-01T00:00:57Z")}), true),
        (json!({"state": running("2026-01-01T00:00:58Z")}), false),
        (
            json!({"state": running("2026-01-01T00:00:00Z"), "ready": true}),
            false,
        ),
        (json!({"ready": true, "lastState": ended(137)}), true),
        (json!({"ready": true, "lastState": ended(143)}), true),
        (json!({"ready": true, "lastState": ended(1)}), false),
    ] {
        let pods = [pod(&container)];
        assert_eq!(doubtful(&pods, "r", now()).is_some(), asked, "{container}");
        assert!(doubtful(&pods, "another", now()).is_none());
    }
}

#[test]
fn a_probe_that_does_not_hold_is_told_while_the_pod_is_waited_for() {
    let events = [
        event("Readiness probe failed: older", "2026-01-01T00:00:10Z"),
        event(REFUSED, "2026-01-01T00:00:20Z"),
    ];
    let probe = |state| told(health(state, None), &events).probe;

    let words = probe(State::InProgress).unwrap();
    assert!(
        words.starts_with("container web: Readiness probe failed: dial tcp")
            && words.contains("0.0.0.0"),
        "{words}"
    );
    assert_eq!(probe(State::Healthy), None);
    assert_eq!(told(health(State::InProgress, None), &[]).probe, None);
}

#[test]
fn who_was_killed_by_a_probe_or_never_became_ready_is_told_by_which_and_nobody_else() {
    let events = [event(
        "Liveness probe failed: HTTP 500",
        "2026-01-01T00:00:10Z",
    )];

    for (trouble, named) in [
        (trouble(Code::CrashLoop, Some(137)), true),
        (trouble(Code::CrashLoop, Some(1)), false),
        (trouble(Code::ProgressDeadlineExceeded, None), true),
        (trouble(Code::ImagePullFailed, None), false),
    ] {
        let message = told(health(State::Error, Some(trouble)), &events).trouble;
        let message = message.unwrap().message;
        assert_eq!(
            message.contains("Liveness probe failed"),
            named,
            "{message}"
        );
        assert!(message.starts_with("words"), "{message}");
    }
}

#[test]
fn a_pod_that_runs_and_is_not_ready_is_looked_at_again() {
    let pods = [pod(&json!({"state": running("2026-01-01T00:00:00Z")}))];
    let looked_at = |state| again(health(state, None), &pods, "r").again;
    assert_eq!(looked_at(State::InProgress), Some(AGAIN));
    assert_eq!(looked_at(State::Healthy), None);

    // What runs to its end has nothing to say before that.
    let job = [pod(
        &json!({"state": running("2026-01-01T00:00:00Z"), "ready": true}),
    )];
    assert_eq!(
        again(health(State::InProgress, None), &job, "r").again,
        None
    );
}
