use serde_json::json;

use super::*;
use crate::args::Settings;
use crate::plan::testing::{self, DIGEST, OTHER_DIGEST, other_defaults, planned, pushed, settings};

fn workload(view: &View, settings: &Settings) -> Workload {
    planned(view, settings).unwrap().workload.unwrap()
}

/// What becomes of the sample's application, which runs by `before`.
fn step(before: &Workload, after: &Workload, is_its_turn: bool) -> Step {
    Step::of(after, &before.object.body, || is_its_turn)
}

#[test]
fn what_a_user_wrote_is_rolled_out_at_once() {
    let settings = settings(&[]);
    let before = workload(&testing::view("redis", |_spec| ()), &settings);
    let changed = testing::view("redis", |spec| {
        spec["components"][0]["template"]["containers"][0]["args"] = json!(["--x"]);
    });

    let after = workload(&changed, &settings);
    assert_eq!(step(&before, &after, false), Step::RollOut);
}

#[test]
fn what_is_added_is_rolled_out_in_its_turn() {
    let view = testing::view("redis", |_spec| ());
    let before = workload(&view, &settings(&[]));
    let after = workload(&view, &other_defaults());

    assert_eq!(step(&before, &after, false), Step::HoldBack);
    assert_eq!(step(&before, &after, true), Step::RollOut);
}

#[test]
fn a_commit_that_made_the_same_image_rolls_nothing_out() {
    let settings = settings(&[]);
    let view = testing::view("click-mania", |_spec| ());
    let before = workload(&view, &settings);
    let after = workload(&pushed(view, DIGEST), &settings);

    // Its own labels change, and so it is written.
    assert_ne!(before.object.revision(), after.object.revision());
    assert_eq!(step(&before, &after, true), Step::Keep);
}

#[test]
fn a_deployment_of_one_that_is_scaled_keeps_its_pods() {
    let settings = settings(&[]);
    let before = workload(&testing::view("redis", |_spec| ()), &settings);
    let scaled = testing::view("redis", |spec| {
        spec["components"][0]["replicas"] = json!(3);
    });

    let after = workload(&scaled, &settings);
    assert_ne!(before.object.revision(), after.object.revision());
    assert_eq!(step(&before, &after, true), Step::Keep);
}

#[test]
fn what_is_paused_waits_or_has_no_room_is_not_rolled_out_and_what_failed_is() {
    let turn = |state: State, paused: bool, is_waiting: bool, has_room: bool| {
        let mut view = testing::view("redis", |_spec| ());
        view.component.spec.paused = paused;
        let status = json!({"deploy": {"state": state}});
        view.component.status = serde_json::from_value(status).unwrap();
        is_its_turn(&view, is_waiting, || has_room)
    };

    assert!(turn(State::Healthy, false, false, true));
    assert!(!turn(State::Healthy, false, false, false));
    assert!(!turn(State::Healthy, true, false, true));
    assert!(!turn(State::Healthy, false, true, true));

    assert!(turn(State::Error, false, false, false));
    assert!(!turn(State::Error, true, false, true));
}

#[test]
fn a_job_is_run_anew_for_what_its_user_wrote_and_its_image_alone() {
    let job = |args: &[&str]| {
        testing::view("click-mania", |spec| {
            let components = spec["components"].as_array_mut().unwrap();
            let mut components = components.iter_mut();
            let app = components.find(|each| each["name"] == "click-mania");
            let template = &mut app.unwrap()["template"];
            template["restartPolicy"] = json!("Never");
            template["containers"][0]["args"] = json!(args);
        })
    };
    let (view, settings) = (job(&["a"]), settings(&[]));
    let there = workload(&view, &settings).object.body;
    let again = |view: &View, settings: &Settings| {
        is_to_run_again(view, &workload(view, settings), there.clone()).unwrap()
    };

    assert!(!again(&view, &settings));
    assert!(!again(&view, &other_defaults()));
    assert!(!again(&pushed(view.clone(), DIGEST), &settings));

    assert!(again(&job(&["b"]), &settings));
    assert!(again(&pushed(view, OTHER_DIGEST), &settings));
}

#[test]
fn those_that_wait_for_their_turn_do_not_come_back_together() {
    let turns: std::collections::BTreeSet<_> = (0..8).map(|_| turn()).collect();

    assert!(turns.len() > 1);
    assert!(turns.iter().all(|turn| (TURN.0..TURN.1).contains(turn)));
}
