use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

fn deployed(status: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "generation": 2},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": status,
    }))
    .unwrap()
}

fn ready() -> Value {
    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2})
}

fn starting() -> Value {
    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1})
}

fn pod(status: Value) -> Pod {
    let metadata = json!({"name": "a-1", "annotations": {"se.quencer.io/revision": "r"}});
    serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
}

fn container(state: Value, last: Value, restarts: i32, ready: bool) -> Value {
    json!({
        "name": "c", "image": "i", "imageID": "", "ready": ready, "restartCount": restarts, "state": state, "lastState": last,
    })
}

fn crashed() -> Value {
    json!({"terminated": {"exitCode": 3, "reason": "Error"}})
}

fn running(started: &str) -> Value {
    json!({"running": {"startedAt": started}})
}

fn of_pod(status: Value, pod_status: Value) -> (State, Option<Code>) {
    let health = deployment(&deployed(status), &[pod(pod_status)], "r", now());
    (health.state, health.trouble.map(|trouble| trouble.code))
}

fn of_containers(status: Value, containers: Value) -> Health {
    let pod = pod(json!({"containerStatuses": containers}));
    deployment(&deployed(status), &[pod], "r", now())
}

fn of_container(status: Value, container: Value) -> (State, Option<Code>) {
    of_pod(status, json!({"containerStatuses": [container]}))
}

#[test]
fn what_was_well_goes_on_while_as_many_serve_as_are_wanted() {
    let goes_on = |available: i32, pods: &[Pod]| {
        let mut status = starting();
        status["availableReplicas"] = json!(available);
        deployment(&deployed(status), pods, "r", now()).goes_on()
    };
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "words"}});
    let container = container(waiting, json!({}), 0, false);
    let failing = pod(json!({"containerStatuses": [container]}));

    assert!(goes_on(2, &[]) && goes_on(3, &[]));
    assert!(!goes_on(1, &[]));
    assert!(!goes_on(2, &[failing]));
}

#[test]
fn healthy_is_when_all_replicas_of_the_current_revision_are_ready() {
    let state = |status: Value| deployment(&deployed(status), &[], "r", now()).state;
    assert_eq!(state(ready()), State::Healthy);
    for (field, value) in [
        ("observedGeneration", 1),
        ("replicas", 3),
        ("updatedReplicas", 1),
        ("readyReplicas", 1),
        ("availableReplicas", 1),
    ] {
        let mut status = ready();
        status[field] = json!(value);
        assert_eq!(state(status), State::InProgress, "{field}");
    }
    assert_eq!(state(json!({})), State::InProgress);
}

#[test]
fn what_is_wrong_has_its_code() {
    let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "words"}});
    let backoff = container(waiting("CrashLoopBackOff"), crashed(), 1, false);
    assert_eq!(
        of_container(starting(), backoff.clone()),
        (State::Error, Some(Code::CrashLoop))
    );
    for reason in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"] {
        let container = container(waiting(reason), json!({}), 0, false);
        assert_eq!(
            of_container(starting(), container),
            (State::Error, Some(Code::ImagePullFailed))
        );
    }
    let init = of_pod(starting(), json!({"initContainerStatuses": [backoff]}));
    assert_eq!(init, (State::Error, Some(Code::InitContainerFailed)));
    let unschedulable = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
    assert_eq!(
        of_pod(starting(), unschedulable),
        (State::Error, Some(Code::Unschedulable))
    );
    let condition = |kind: &str, status: &str, message: &str| {
        let mut whole = starting();
        whole["conditions"] =
            json!([{"type": kind, "status": status, "reason": "R", "message": message}]);
        deployment(&deployed(whole), &[], "r", now())
            .trouble
            .map(|trouble| trouble.code)
    };
    assert_eq!(
        condition("ReplicaFailure", "True", "exceeded quota: x"),
        Some(Code::QuotaExceeded)
    );
    assert_eq!(
        condition("ReplicaFailure", "True", "violates PodSecurity"),
        Some(Code::AdmissionDenied)
    );
    assert_eq!(
        condition("Progressing", "False", ""),
        Some(Code::ProgressDeadlineExceeded)
    );
    assert_eq!(condition("Progressing", "True", ""), None);
}

#[test]
fn the_log_is_of_the_container_that_ended() {
    let log = |state: Value| {
        let status = json!({"containerStatuses": [container(state, crashed(), 2, false)]});
        let health = deployment(&deployed(starting()), &[pod(status)], "r", now());
        health.trouble.and_then(|trouble| trouble.log)
    };
    let of = |previous| {
        Some(LogOf {
            pod: "a-1".into(),
            container: "c".into(),
            previous,
        })
    };
    assert_eq!(
        log(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        of(true)
    );
    assert_eq!(log(crashed()), of(false));
}

#[test]
fn one_crash_is_no_loop_and_a_loop_is_over_after_ten_seconds() {
    let (fresh, old) = (
        running("2026-01-01T00:00:55Z"),
        running("2026-01-01T00:00:40Z"),
    );
    assert_eq!(
        of_container(starting(), container(crashed(), json!({}), 0, false)),
        (State::InProgress, None)
    );
    assert_eq!(
        of_container(ready(), container(fresh.clone(), crashed(), 1, true)),
        (State::Healthy, None)
    );
    let looping = of_container(ready(), container(fresh.clone(), crashed(), 2, true));
    assert_eq!(looping, (State::Error, Some(Code::CrashLoop)));
    assert_eq!(
        of_container(ready(), container(old, crashed(), 2, true)),
        (State::Healthy, None)
    );
    let status = json!({"containerStatuses": [container(fresh, crashed(), 2, true)]});
    let again = deployment(&deployed(ready()), &[pod(status)], "r", now()).again;
    assert_eq!(again, Some(Duration::from_secs(5)));
}

#[test]
fn a_component_that_ends_well_has_ended_all_the_same_and_an_init_container_may() {
    let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    let backing_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let fresh = running("2026-01-01T00:00:55Z");

    for (state, restarts) in [(ended.clone(), 1), (backing_off, 2), (fresh, 2)] {
        let container = container(state, ended.clone(), restarts, false);
        let health = of_containers(starting(), json!([container]));
        let trouble = health.trouble.unwrap();
        assert_eq!(trouble.code, Code::CrashLoop);
        let told = "container c ended with exit code 0: a component has to keep running";
        assert!(trouble.message.starts_with(told), "{}", trouble.message);
    }

    let init = container(ended.clone(), ended, 1, true);
    let initialized = json!({"initContainerStatuses": [init]});
    assert_eq!(of_pod(starting(), initialized), (State::InProgress, None));
}

#[test]
fn the_runtime_says_itself_why_a_program_cannot_be_executed() {
    let words = "failed to create containerd task: OCI runtime create failed: unable to start \
        container process: error during container init: exec: \"/nope\": no such file or directory";
    let ended = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": words}});
    let health = of_containers(
        starting(),
        json!([container(ended.clone(), ended, 1, false)]),
    );
    assert_eq!(
        health.trouble.unwrap().message,
        "container c cannot be started: \"/nope\": no such file or directory, restarted once"
    );
}

#[test]
fn pods_of_another_revision_tell_nothing() {
    let status = json!({"containerStatuses": [container(crashed(), crashed(), 9, false)]});
    assert_eq!(
        deployment(&deployed(starting()), &[pod(status)], "other", now()).trouble,
        None
    );
}

#[test]
fn a_job_is_completed_or_failed_with_its_last_pods_log() {
    let of = |status: Value, pods: &[Pod]| {
        let whole = json!({"metadata": {"name": "a"}, "spec": {"template": {}}, "status": status});
        job(&serde_json::from_value(whole).unwrap(), pods, "r", now())
    };
    let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"}]});
    assert_eq!(of(condition("Complete"), &[]).state, State::Completed);
    assert_eq!(of(json!({"active": 1}), &[]).state, State::InProgress);
    let failed = of(
        condition("Failed"),
        &[pod(
            json!({"containerStatuses": [container(crashed(), json!({}), 0, false)]}),
        )],
    );
    let trouble = failed.trouble.unwrap();
    assert_eq!(
        (failed.state, trouble.code, trouble.exit_code),
        (State::Error, Code::CrashLoop, Some(3))
    );
    assert!(trouble.log.is_some_and(|log| !log.previous));
    assert_eq!(
        of(condition("Failed"), &[]).trouble.unwrap().code,
        Code::CrashLoop
    );
}

#[test]
fn a_try_of_a_job_that_failed_is_told_while_the_next_one_goes_on() {
    let of_job = |status: Value, pods: &[Pod]| {
        let spec = json!({"template": {}, "backoffLimit": 6});
        let whole = json!({"metadata": {"name": "a"}, "spec": spec, "status": status});
        job(&serde_json::from_value(whole).unwrap(), pods, "r", now())
    };
    let pod_of = |name: &str, second: u8, state: Value| {
        let mut pod = pod(json!({"containerStatuses": [container(state, json!({}), 0, false)]}));
        pod.metadata.name = Some(name.into());
        let created = format!("2026-01-01T00:00:{second:02}Z");
        pod.metadata.creation_timestamp = serde_json::from_value(json!(created)).unwrap();
        pod
    };

    let mut pods = vec![
        pod_of("second", 20, crashed()),
        pod_of("first", 10, crashed()),
    ];
    for next in [None, Some(running("2026-01-01T00:00:55Z"))] {
        pods.extend(next.map(|state| pod_of("third", 30, state)));
        let health = of_job(json!({"active": 1, "failed": 2}), &pods);
        let trouble = health.trouble.unwrap();
        assert_eq!(
            (health.state, trouble.code),
            (State::Error, Code::CrashLoop)
        );
        assert_eq!(
            trouble.message,
            "container c ended with exit code 3 (Error), try 2 of 7"
        );
        assert_eq!(trouble.log.unwrap().pod, "second");
    }

    let done = json!({"failed": 2, "conditions": [{"type": "Complete", "status": "True"}]});
    assert_eq!(of_job(done, &pods).trouble, None);
}

#[test]
fn a_pod_waits_for_the_image_of_the_container_that_is_next() {
    let starting = |image: &str| {
        json!({
            "name": "c", "image": image, "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "PodInitializing"}},
        })
    };

    let running = json!({
        "name": "i", "image": "init", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}},
    });
    let done = json!({
        "name": "i", "image": "init", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0}},
    });
    let waits_for = |can_start: &str, init: &Value, main: Value| {
        let conditions = json!([{"type": "PodReadyToStartContainers", "status": can_start}]);
        let pod = pod(json!({
            "conditions": conditions, "initContainerStatuses": [init], "containerStatuses": [main],
        }));
        pods::pulling(&pod).map(ToOwned::to_owned)
    };

    let init = starting("init");
    assert_eq!(waits_for("False", &init, starting("main")), None);
    assert_eq!(
        waits_for("True", &init, starting("main")).as_deref(),
        Some("init")
    );
    assert_eq!(waits_for("True", &running, starting("main")), None);
    assert_eq!(
        waits_for("True", &done, starting("main")).as_deref(),
        Some("main")
    );
    assert_eq!(waits_for("True", &done, done.clone()), None);
}

#[test]
fn a_container_that_crashed_is_up_once_it_ran_longer_than_before_unless_that_was_long() {
    let last = |began: &str, ended: &str| json!({"terminated": {"exitCode": 3, "reason": "Error", "startedAt": began, "finishedAt": ended}});
    // It is one minute past midnight.
    for (began, ended, since, state) in [
        (
            "2025-12-31T23:59:00Z",
            "2025-12-31T23:59:30Z",
            "2026-01-01T00:00:30Z",
            State::Error,
        ),
        (
            "2025-12-31T23:59:00Z",
            "2025-12-31T23:59:30Z",
            "2025-12-31T23:59:59Z",
            State::Healthy,
        ),
        (
            "2025-12-29T00:00:00Z",
            "2025-12-31T23:59:30Z",
            "2026-01-01T00:00:49Z",
            State::Healthy,
        ),
        (
            "2025-12-29T00:00:00Z",
            "2025-12-31T23:59:30Z",
            "2026-01-01T00:00:55Z",
            State::Error,
        ),
    ] {
        let container = container(running(since), last(began, ended), 2, true);
        assert_eq!(of_container(ready(), container).0, state, "{began} {since}");
    }
}
