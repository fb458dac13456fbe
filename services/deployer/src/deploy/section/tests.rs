use sequencer_api::status::Section;
use serde_json::json;

use super::*;
use crate::plan::testing;

fn section(state: State) -> DeploySection {
    DeploySection {
        section: Section {
            state: Some(state),
            ..Section::default()
        },
        ..DeploySection::default()
    }
}

/// Where no sibling waits.
fn from(before: &DeploySection, after: &DeploySection) -> Option<Difference> {
    difference(before, after, false)
}

#[test]
fn what_ends_and_what_fails_is_an_outcome_and_what_goes_on_is_not() {
    let new = DeploySection::default();

    for (state, expected) in [
        (State::Healthy, Difference::Outcome),
        (State::Completed, Difference::Outcome),
        (State::Error, Difference::Outcome),
        (State::InProgress, Difference::Progress),
        (State::Waiting, Difference::Progress),
    ] {
        assert_eq!(from(&new, &section(state)), Some(expected), "{state:?}");
        assert_eq!(from(&section(state), &section(state)), None);
    }
}

#[test]
fn what_a_sibling_waits_for_is_an_outcome() {
    let waiting = section(State::Waiting);
    let started = DeploySection {
        revision: Some("a".into()),
        ..section(State::InProgress)
    };

    let ready = DeploySection {
        ready_replicas: Some(1),
        ..started.clone()
    };

    assert_eq!(
        difference(&waiting, &started, true),
        Some(Difference::Outcome)
    );
    assert_eq!(
        difference(&waiting, &started, false),
        Some(Difference::Progress)
    );
    assert_eq!(difference(&started, &ready, true), Some(Difference::Words));
}

#[test]
fn counts_and_messages_alone_are_words() {
    let failing = |message: &str, ready| DeploySection {
        ready_replicas: Some(ready),
        failure: Some(Failure::new(Code::CrashLoop, message)),
        ..section(State::Error)
    };

    assert_eq!(
        from(&failing("a", 1), &failing("b", 2)),
        Some(Difference::Words)
    );
}

#[test]
fn a_pod_that_finds_no_node_at_once_is_no_failure_yet() {
    let failing = |code| DeploySection {
        failure: Some(Failure::new(code, "")),
        ..section(State::Error)
    };

    let new = DeploySection::default();

    assert_eq!(
        from(&new, &failing(Code::Unschedulable)),
        Some(Difference::Progress)
    );
    assert_eq!(
        from(&new, &failing(Code::ImagePullFailed)),
        Some(Difference::Outcome)
    );
}

#[test]
fn an_image_that_is_pulled_is_a_wait() {
    let started = section(State::InProgress);
    let pulling = DeploySection {
        pulling: Some("redis:latest".into()),
        ..started.clone()
    };

    assert_eq!(from(&started, &pulling), Some(Difference::Wait));
    assert_eq!(from(&pulling, &started), Some(Difference::Progress));
}

#[test]
fn a_job_that_is_done_and_gone_is_of_the_newest_build_that_made_the_same() {
    let mut view = testing::view("click-mania", |spec| {
        spec["components"][2]["template"]["restartPolicy"] = json!("Never");
    });
    let newer = testing::build("build-2", "2026-01-02T00:00:00Z", Some(testing::DIGEST));
    view.builds.push(newer);

    let plan = testing::planned(&view, &testing::settings(&[])).unwrap();
    let workload = plan.workload.as_ref().unwrap();
    let deploy = json!({"state": "Completed", "revision": workload.revision, "build": "build-1"});
    view.component.status = serde_json::from_value(json!({"deploy": deploy})).unwrap();
    assert!(has_run(&view, workload));

    let section = still_done(&view, &plan, workload);
    assert_eq!(section.build.as_deref(), Some("build-2"));
    assert_eq!(section.section.state, Some(State::Completed));
    assert_eq!(section.images, workload.images);
}
