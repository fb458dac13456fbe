use sequencer_api::code::Code;
use sequencer_api::condition::Severity;

use super::*;
use crate::plan::Target;
use crate::retry;

fn subject(second: i64, asked: Option<&str>) -> Subject {
    let target = Target {
        kind: Kind::Workspace,
        namespace: "team-a".into(),
        name: "w".into(),
        uid: "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10".into(),
    };
    Subject {
        owner: target.uuid(),
        target,
        generation: 1,
        created: None,
        retry: retry::Retry::asking(asked),
        now: Timestamp::from_second(second).unwrap(),
    }
}

fn action(name: &str) -> Action {
    Action::Delete(Target {
        kind: Kind::Component,
        name: name.into(),
        ..subject(0, None).target
    })
}

fn denied(second: i64, code: Code, before: Option<&Denied>) -> Denied {
    let denial = Denial {
        kind: "Component".into(),
        name: "a".into(),
        code,
        words: "no".into(),
    };
    let subject = subject(second, None);
    Denied::new(&subject, Write::Action(&action("a")), denial, before)
}

#[test]
fn the_same_is_not_written_again_until_it_is_time_or_somebody_changes_it_or_asks() {
    let first = denied(100, Code::QuotaExceeded, None);
    let (same, other) = (action("a"), action("b"));

    for (second, asked, action, holds) in [
        (100, None, &same, true),
        (102, None, &same, true),
        (105, None, &same, false),
        (101, Some("1"), &same, false),
        (101, None, &other, false),
    ] {
        let subject = subject(second, asked);
        assert_eq!(
            first.holds_back(&subject, Write::Action(action)),
            holds,
            "{second} {asked:?}"
        );
    }
}

#[test]
fn each_time_it_waits_longer_and_another_code_is_the_first_of_its_own() {
    let mut last = denied(100, Code::QuotaExceeded, None);
    assert!(last.is_first());
    let wait = |denied: &Denied, second: i64| denied.next.as_second() - second;

    for second in [200, 300, 400, 500] {
        let next = denied(second, Code::QuotaExceeded, Some(&last));
        assert!(!next.is_first() && wait(&next, second) > 4, "{next:?}");
        last = next;
    }
    assert!(wait(&last, 500) >= 40);
    assert!(denied(600, Code::AdmissionDenied, Some(&last)).is_first());
}

#[test]
fn a_person_is_asked_at_once_to_mend_his_own_and_after_five_minutes_to_raise_a_quota() {
    let at = |second| Timestamp::from_second(second).unwrap();

    for (code, second, severity) in [
        (Code::AdmissionDenied, 100, Severity::Failed),
        (Code::QuotaExceeded, 100, Severity::Retried),
        (Code::QuotaExceeded, 400, Severity::Failed),
    ] {
        let summary = denied(100, code, None).summary(at(second));
        assert_eq!(summary.severity(), severity, "{code} {second}");
    }

    let mut late = denied(100, Code::QuotaExceeded, None);
    late.next = at(900);
    assert_eq!(
        (late.again_at(at(101)), late.again_at(at(400))),
        (at(400), at(900))
    );
}

#[test]
fn it_is_of_the_object_that_was_written_and_says_its_name() {
    let denied = denied(100, Code::QuotaExceeded, None);

    assert!(denied.is(Kind::Component, "a") && denied.is_of(Kind::Component));
    assert!(!denied.is(Kind::Build, "a") && !denied.is(Kind::Component, "b"));
    assert_eq!(denied.message(), "Component a was refused: no");
}

#[test]
fn what_is_gone_is_forgotten() {
    let (denials, uid) = (Denials::default(), subject(0, None).target.uuid());
    let denied = denied(100, Code::QuotaExceeded, None);
    denials.set(uid, vec![denied.clone()]);
    denials.set_status(uid, denied.clone());
    assert_eq!(
        (denials.of(uid), denials.of_status(uid)),
        (vec![denied.clone()], Some(denied))
    );

    denials.forget(uid);
    assert!(denials.of(uid).is_empty() && denials.of_status(uid).is_none());
}
