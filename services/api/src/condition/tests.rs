use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

#[test]
fn every_word_is_read_as_it_is_written() {
    for kind in ConditionType::ALL {
        assert_eq!(kind.to_string().parse(), Ok(*kind));
    }
    for reason in Reason::all() {
        assert_eq!(reason.to_string().parse(), Ok(reason));
        assert_eq!(reason.to_string().parse(), Ok(Expected::Reason(reason)));
    }
    assert_eq!("Error".parse(), Ok(Expected::Error));
    assert_eq!("Unknown".parse(), Ok(Expected::Status(Status::Unknown)));
}

#[test]
fn error_stands_for_the_reason_of_any_code_and_is_itself_none() {
    assert!("Error".parse::<Reason>().is_err());
    assert_eq!(Expected::rule().matches("'Error'").count(), 1);

    let condition = |summary: Summary| summary.condition(ConditionType::Pod, 1, &[], at(0));
    let failed = condition(Summary::failed(Code::CrashLoop, ""));
    let waits = condition(Summary::no(Reason::Waiting, ""));
    assert!(Expected::Error.is_met_by(&failed) && !Expected::Error.is_met_by(&waits));
    let of_job = |status: &str, reason: &str| Condition {
        status: status.into(),
        reason: reason.into(),
        ..failed.clone()
    };
    let healthy = Expected::Reason(Reason::Healthy);
    assert!(healthy.is_met_by(&of_job("True", "Completed")));
    assert!(!healthy.is_met_by(&of_job("False", "Completed")));
    assert!(Expected::Status(Status::False).is_met_by(&failed));
    assert!(Expected::Reason(Reason::Code(Code::CrashLoop)).is_met_by(&failed));
    assert!(!Expected::Reason(Reason::Code(Code::ImagePullFailed)).is_met_by(&failed));
}

#[test]
fn the_worst_wins_and_of_equals_the_first() {
    let (source, build) = (
        Summary::no(Reason::InProgress, "a"),
        Summary::no(Reason::Waiting, "b"),
    );
    let (pod, network) = (
        Summary::failed(Code::CrashLoop, "c"),
        Summary::failed(Code::ObjectNotOwned, "d"),
    );
    let retried = Summary {
        retried: true,
        ..pod.clone()
    };

    let good = Summary::yes(Reason::Healthy, "");

    assert_eq!(Summary::worst([&good, &source, &build]), Some(&source));
    assert_eq!(
        Summary::worst([&source, &pod, &network, &build]),
        Some(&pod)
    );
    assert_eq!(
        Summary::worst([&source, &retried, &network]),
        Some(&network)
    );
    assert_eq!(Summary::worst([&good]), Some(&good));
    assert_eq!(Summary::worst([]), None);
}

#[test]
fn a_text_begins_with_the_code_and_is_cut() {
    let failed = Summary::failed(Code::CommitNotFound, "no branch");
    assert_eq!(failed.text(), "E#1012 no branch");
    assert_eq!(Summary::no(Reason::Waiting, "for a").text(), "for a");

    let long = Summary::failed(Code::CommitNotFound, "ü".repeat(3000));
    assert_eq!(long.text().chars().count(), 1024);
}

#[test]
fn the_time_is_that_of_the_last_change_of_status() {
    let write = |summary: Summary, before: &[Condition], second| {
        [summary.condition(ConditionType::Ready, 1, before, at(second))]
    };

    let first = write(Summary::no(Reason::Waiting, "a"), &[], 5);
    let second = write(Summary::no(Reason::InProgress, "b"), &first, 9);
    let third = write(Summary::yes(Reason::Healthy, ""), &second, 12);
    let since = [first, second, third].map(|[ready]| ready.last_transition_time);
    assert_eq!(since, [at(5), at(5), at(12)]);
}

#[test]
fn a_condition_of_an_older_generation_does_not_hold_for_this_one() {
    let ready = Summary::yes(Reason::Healthy, "");
    let list = [ready.condition(ConditionType::Ready, 1, &[], at(0))];
    assert!(holds_for(&list, ConditionType::Ready, 1));
    assert!(!holds_for(&list, ConditionType::Ready, 2));
    assert!(holds(&list, ConditionType::Ready) && !holds(&list, ConditionType::Pod));
}
