use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::condition::Reason;
use sequencer_api::labels;
use sequencer_api::status::build::BuildPhase;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::chart::Chart;

/// In a chart with these pools.
fn view(build: &Build, pools: &[&str], now: i64) -> BuildView {
    let chart = Chart {
        pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
        ..Chart::default()
    };
    let build = Arc::new(build.clone());
    BuildView::new(build, Uuid::nil(), false, &chart, at(now))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn build(age: i64, pool: &str, image: Value) -> Arc<Build> {
    let value = json!({
        "metadata": {"name": format!("b{age}"), "uid": format!("{age}"), "generation": 1, "creationTimestamp": at(age)},
        "spec": {"name": "app", "containerRegistries": [], "importContent": [], "runtime": {"pool": pool}},
        "status": {"image": image},
    });
    serde_json::from_value::<Build>(value).unwrap().into()
}

#[test]
fn what_says_nothing_of_itself_yet_can_be_told_by_others() {
    let say = |image| {
        let fact = view(&build(1, "default", image), &["default"], 0).ready();
        (fact.reason, fact.message)
    };
    assert_eq!(
        say(json!({})),
        (
            Reason::Waiting,
            " is waiting for a builder of pool default".into()
        )
    );
    let claim = json!({"claim": {"holder": "a", "until": at(200)}});
    assert_eq!(
        say(claim),
        (Reason::InProgress, "building  in pool default".into())
    );
    for section in [
        json!({"step": "fetching the source"}),
        json!({"claim": {"holder": "a", "until": at(200)}, "step": "fetching the source"}),
    ] {
        let told = "building  in pool default: fetching the source";
        assert_eq!(say(section), (Reason::InProgress, told.into()));
    }
}

/// A Build that is built, with this publication, whose place another took.
fn superseded(publish: &Value) -> Build {
    let done = json!({"state": "Completed", "observedGeneration": 1, "digest": "sha256:0"});
    let mut build = build(1, "default", done).as_ref().clone();
    build
        .annotations_mut()
        .insert(labels::SUPERSEDED_BY.into(), "newer".into());
    let mut status = build.status.take().unwrap_or_default();
    status.publish = serde_json::from_value(publish.clone()).unwrap();
    build.status = Some(status);
    build
}

#[test]
fn one_that_is_built_and_not_published_is_superseded_and_only_taken_back() {
    let retry =
        json!({"attempts": 1, "nextAttemptAt": at(150), "code": "E#1020", "message": "refused"});
    for (publish, notifications) in [
        (json!({}), 0),
        (
            json!({"state": "Error", "observedGeneration": 1, "retry": retry}),
            1,
        ),
        (
            json!({"state": "InProgress", "observedGeneration": 1, "claim": {"holder": "a/1", "until": at(50)}}),
            1,
        ),
        (json!({"state": "Waiting", "observedGeneration": 1}), 0),
    ] {
        let view = view(&superseded(&publish), &["default"], 100);
        let status = view.status();
        assert_eq!(status.phase, BuildPhase::Superseded, "{publish}");
        let condition = |kind: &str| {
            let found = status
                .conditions
                .iter()
                .find(|found| found.type_ == kind)
                .unwrap();
            (found.status.clone(), found.reason.clone())
        };
        assert_eq!(
            condition("Image"),
            ("True".into(), "Completed".into()),
            "{publish}"
        );
        for kind in ["Publish", "Ready"] {
            assert_eq!(
                condition(kind),
                ("False".into(), "Superseded".into()),
                "{publish}"
            );
        }
        let plan = view.plan();
        let notified: Vec<_> = plan
            .notifications
            .iter()
            .map(|notification| (notification.verb, notification.policy))
            .collect();
        assert_eq!(
            notified,
            vec![(Verb::Push, Policy::Now); notifications],
            "{publish}"
        );
        assert_eq!(plan.next, None);
    }
}

#[test]
fn one_that_was_published_before_its_mark_came_stays_so() {
    let build = superseded(
        &json!({"state": "Completed", "observedGeneration": 1, "image": "r.test/a@sha256:0"}),
    );
    let view = view(&build, &["default"], 100);
    assert_eq!(view.status().phase, BuildPhase::Completed);
    assert_eq!(view.plan().notifications, []);
}

#[test]
fn a_pool_that_is_not_open_is_never_notified_and_what_is_built_stays_built() {
    let build = |namespace: &str, image| {
        let mut build = Build::clone(&build(1, "large", image));
        build.metadata.namespace = Some(namespace.into());
        build
    };
    let view = |of: &Build| view(of, &["default", "large=team-*"], 0);
    let verbs = |of: &Build| {
        view(of)
            .plan()
            .notifications
            .iter()
            .map(|notification| notification.verb)
            .collect::<Vec<_>>()
    };
    let (open, closed) = (build("team-a", json!({})), build("other", json!({})));
    assert_eq!((verbs(&open), verbs(&closed)), (vec![Verb::Build], vec![]));
    let fact = view(&closed).ready();
    assert_eq!(
        (fact.holds, fact.reason, fact.retried),
        (false, Reason::Code(Code::PoolNotOpen), false)
    );
    let built = build(
        "other",
        json!({"state": "Completed", "observedGeneration": 1, "digest": "sha256:x"}),
    );
    assert_eq!(
        (verbs(&built), view(&built).ready().reason),
        (vec![Verb::Push], Reason::InProgress)
    );
}

#[test]
fn a_build_that_lost_its_buildkit_goes_on_and_nobody_is_asked_to_do_anything() {
    let retry = json!({"attempts": 1, "nextAttemptAt": at(100), "code": "E#1023", "message": "BuildKit was lost"});
    let lost = build(
        1,
        "default",
        json!({"state": "InProgress", "observedGeneration": 1, "retry": retry}),
    );
    let view = view(&lost, &["default"], 100);
    let status = view.status();
    let stands = |kind: &str| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind)
    };

    assert!(
        stands("Stalled").is_none() && stands("Reconciling").is_some(),
        "{:?}",
        status.conditions
    );
    assert!(
        stands("Ready").is_some_and(|ready| ready.reason == Code::BuildKitLost.reason()),
        "{:?}",
        status.conditions
    );

    assert_eq!(
        (status.phase, view.plan().notifications.len()),
        (BuildPhase::Building, 1)
    );
}

#[test]
fn so_many_builds_as_run_or_are_before_it_in_its_pool_hold_one_up() {
    let claim = json!({"claim": {"holder": "a", "until": at(200)}});
    let retry = json!({"attempts": 1, "nextAttemptAt": at(150), "code": "E#1011", "message": ""});
    let failed = json!({"state": "Error", "observedGeneration": 1, "retry": retry});
    let done = json!({"state": "Completed", "observedGeneration": 1});
    let ours = build(50, "default", json!({}));
    let waits = |other: &Arc<Build>, limit, now| {
        waits_for_its_turn(&ours, &[other.clone(), ours.clone()], limit, at(now))
    };
    for (other, wanted) in [
        (build(40, "default", json!({})), true),
        (build(60, "default", json!({})), false),
        (build(40, "large", json!({})), false),
        (build(60, "large", claim.clone()), true),
        (build(40, "default", done), false),
    ] {
        assert_eq!(waits(&other, 1, 100), wanted, "{other:?}");
        assert!(!waits(&other, 2, 100) && !waits(&other, 0, 100));
    }
    let failed = build(40, "default", failed);
    assert!(!waits(&failed, 1, 149) && waits(&failed, 1, 150));
    let running = build(60, "large", claim.clone());
    assert!(waits(&running, 1, 199) && !waits(&running, 1, 200));
    let ours = build(50, "default", claim);
    assert!(!waits_for_its_turn(
        &ours,
        &[build(40, "default", json!({}))],
        1,
        at(100)
    ));
}
