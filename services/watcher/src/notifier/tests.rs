use sequencer_api::status::State;
use sequencer_api::{Workspace, labels};
use sequencer_proto::topics::Kind;
use serde_json::json;

use super::*;
use crate::plan::Target;

const PERIODS: Periods = Periods {
    resync: Duration::from_secs(60),
    secret: Duration::from_secs(30),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn subject() -> Subject {
    Subject {
        target: Target {
            kind: Kind::Build,
            namespace: "n".into(),
            name: "b".into(),
            uid: Uuid::nil().into(),
        },
        owner: Uuid::nil(),
        generation: 1,
        created: None,
        retry: Retry::default(),
        now: at(0),
    }
}

/// Of the state of its object at this revision.
fn notification_of(rev: i64, policy: Policy) -> Notification {
    let subject = subject();
    let inputs = Inputs::of(&subject, Some(rev), Cause::Spec);
    notification(&subject, Verb::Push, None, inputs, policy)
}

#[test]
fn a_person_who_asks_has_looked_at_what_is_outside_and_tried_what_failed() {
    let mut subject = subject();
    subject.retry.asked = Some("again".into());
    let done = Section {
        state: Some(State::Completed),
        observed_generation: Some(1),
        ..Section::default()
    };
    let tried = Section {
        asked: Some("again".into()),
        ..done.clone()
    };

    for (verb, section, settled, notified) in [
        (Verb::Tunnel, &done, true, true),
        (Verb::Tunnel, &tried, true, false),
        (Verb::Push, &done, true, false),
        (Verb::Push, &done, false, true),
    ] {
        let mut plan = Plan::default();
        notify(
            &mut plan,
            &subject,
            verb,
            None,
            section,
            settled,
            Cause::Spec,
        );
        let asked = plan.notifications.iter().map(|found| found.asked);
        assert_eq!(asked.collect::<Vec<_>>(), vec![true; usize::from(notified)]);
    }
}

/// One that was published then, of a state with this revision.
fn sent_before(notification: &Notification, rev: i64, second: i64) -> Sent {
    let mut sent = Sent::new(notification, at(second));
    sent.inputs.rev = Some(rev);
    sent
}

fn sends(before: Option<&Sent>, notification: &Notification, now: i64) -> bool {
    decide(before, notification, PERIODS, at(now))
        .send
        .is_some()
}

#[test]
fn what_is_unfinished_is_notified_at_once_with_each_change_and_with_each_resync() {
    let notification = notification_of(1, Policy::Now);
    let same = sent_before(&notification, 1, 0);
    assert!(sends(None, &notification, 0));
    assert!(!sends(Some(&same), &notification, 59) && sends(Some(&same), &notification, 60));

    let other = sent_before(&notification, 2, 0);
    assert!(sends(Some(&other), &notification, 1));

    let same = sent_before(&notification, 1, 5);
    assert_eq!(
        decide(Some(&same), &notification, PERIODS, at(6)).next,
        Some(at(65))
    );
}

#[test]
fn a_wait_that_is_over_is_another_state() {
    let held = sent_before(&notification_of(1, Policy::Held), 1, 0);
    assert!(sends(Some(&held), &notification_of(1, Policy::Now), 1));
}

#[test]
fn a_secret_is_looked_at_every_half_minute_and_not_at_once() {
    let notification = notification_of(1, Policy::Secret);
    let other = sent_before(&notification, 2, 0);
    assert!(!sends(None, &notification, 0) && !sends(Some(&other), &notification, 100));

    let same = sent_before(&notification, 1, 0);
    assert!(!sends(Some(&same), &notification, 29) && sends(Some(&same), &notification, 30));
    assert_eq!(
        decide(None, &notification, PERIODS, at(7)).next,
        Some(at(37))
    );
}

#[test]
fn what_is_watched_is_looked_at_with_each_resync_and_not_at_once() {
    let notification = notification_of(1, Policy::Watched);
    let same = sent_before(&notification, 1, 0);
    assert!(!sends(None, &notification, 0));
    assert!(!sends(Some(&same), &notification, 59) && sends(Some(&same), &notification, 60));
}

#[test]
fn what_is_held_is_notified_only_when_a_user_says_so() {
    let mut notification = notification_of(1, Policy::Held);
    let same = sent_before(&notification, 1, 0);
    assert!(!sends(None, &notification, 0) && !sends(Some(&same), &notification, 1000));

    let asked =
        json!({"metadata": {"annotations": {labels::RETRY: "again"}}, "spec": {"components": []}});
    let workspace: Workspace = serde_json::from_value(asked).unwrap();
    notification.retry = Retry::of(&workspace, &[]);
    assert!(sends(Some(&same), &notification, 1));
    assert!(!sends(None, &notification, 1));
    assert_eq!(decide(None, &notification, PERIODS, at(0)).next, None);
}
