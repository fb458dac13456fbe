use sequencer_api::status::Retry;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn words(list: &[Condition]) -> Vec<(&str, &str, &str)> {
    list.iter()
        .map(|each| {
            (
                each.type_.as_str(),
                each.status.as_str(),
                each.reason.as_str(),
            )
        })
        .collect()
}

#[test]
fn reconciling_and_stalled_never_stand_together_and_neither_beside_a_ready_one() {
    let failed = Summary::failed(Code::CommitNotFound, "");
    let retried = Summary {
        retried: true,
        ..failed.clone()
    };

    for (ready, wanted) in [
        (
            Summary::yes(Reason::Healthy, ""),
            vec![("Ready", "True", "Healthy")],
        ),
        (
            Summary::no(Reason::Waiting, ""),
            vec![
                ("Ready", "False", "Waiting"),
                ("Reconciling", "True", "InProgress"),
            ],
        ),
        (
            retried,
            vec![
                ("Ready", "False", "CommitNotFound"),
                ("Reconciling", "True", "CommitNotFound"),
            ],
        ),
        (
            failed,
            vec![
                ("Ready", "False", "CommitNotFound"),
                ("Stalled", "True", "CommitNotFound"),
            ],
        ),
        (
            Summary::no(Reason::Superseded, ""),
            vec![
                ("Ready", "False", "Superseded"),
                ("Stalled", "True", "Superseded"),
            ],
        ),
        (
            Summary::no(Reason::Paused, ""),
            vec![("Ready", "False", "Paused")],
        ),
    ] {
        assert_eq!(
            words(&Conditions::new(&[], 1, at(0)).finish(&ready, None, false, "")),
            wanted
        );
    }
}

/// A section that has this code since second 100.
fn section(state: State, code: Code) -> Section {
    Section {
        state: Some(state),
        observed_generation: Some(1),
        retry: Some(Retry {
            attempts: 1,
            since: Some(Time(at(100))),
            next_attempt_at: Some(Time(at(109))),
            code,
            message: "words".into(),
            secret_versions: std::collections::BTreeMap::new(),
        }),
        ..Section::default()
    }
}

#[test]
fn what_only_takes_its_time_is_in_progress_and_shows_no_code_until_it_fails() {
    for (state, code, in_progress) in [
        (State::InProgress, Code::ConnectorNotConnected, true),
        (State::InProgress, Code::RecordNotResolved, true),
        (State::Deleting, Code::ExternalDeletionPending, true),
        (State::Error, Code::ConnectorNotConnected, false),
        (State::InProgress, Code::ProviderUnavailable, false),
    ] {
        let section = section(state, code);
        let told = wrong(&section, None, 1, at(101)).unwrap();
        assert_eq!(told.reason == Reason::InProgress, in_progress, "{code}");
        assert_eq!(told.message, "words", "{code}");
        assert_eq!(wrong(&section, None, 2, at(101)), None, "{code}");
    }
}

#[test]
fn a_person_is_asked_at_once_to_mend_his_own_and_after_five_minutes_to_look_at_the_rest() {
    for state in [State::Error, State::InProgress] {
        for (code, now, severity) in [
            (Code::CommitNotFound, 100, Severity::Failed),
            (Code::ProviderUnavailable, 100, Severity::Retried),
            (Code::StagingUnavailable, 399, Severity::Retried),
            (Code::StagingUnavailable, 400, Severity::Failed),
        ] {
            let told = wrong(&section(state, code), None, 1, at(now)).unwrap();
            assert_eq!(told.severity(), severity, "{code} {now}");
        }
    }
}

#[test]
fn what_is_not_tried_again_but_looked_at_lasts_since_it_was_seen() {
    let seen = Section {
        retry: None,
        ..section(State::Error, Code::Unschedulable)
    };
    let failure = Failure {
        since: Some(Time(at(100))),
        ..Failure::new(Code::Unschedulable, "no node has room")
    };

    for (now, severity) in [(399, Severity::Retried), (400, Severity::Failed)] {
        let told = wrong(&seen, Some(&failure), 1, at(now)).unwrap();
        assert_eq!(told.severity(), severity, "{now}");
    }
    assert_eq!(stalls_at(&seen, Some(&failure)), Some(at(400)));
    assert_eq!(stalls_at(&seen, None), None);
}

#[test]
fn a_look_that_fails_in_passing_unmakes_nothing_unless_something_else_is_wrong() {
    use ConditionType::{Pod, Source};
    let good = Summary::yes(Reason::Healthy, "");
    let rolling = Summary::no(Reason::InProgress, "");
    let failed = Summary::failed(Code::GitOperationFailed, "");
    let retried = Summary {
        retried: true,
        ..failed.clone()
    };

    for (source, pod, looked_at, wrong, tried) in [
        (&good, &good, Source, None, None),
        (&retried, &good, Source, None, Some(&retried)),
        (&retried, &good, Pod, Some(&retried), None),
        (&failed, &good, Source, Some(&failed), None),
        (&retried, &rolling, Source, Some(&retried), None),
        (&good, &rolling, Source, Some(&rolling), None),
    ] {
        let parts = [(Source, source.clone()), (Pod, pod.clone())];
        let looked_at = [looked_at];
        let verdict = Verdict::of(&parts, &looked_at);
        assert_eq!((verdict.wrong, verdict.retried), (wrong, tried));
    }

    let told = Conditions::new(&[], 1, at(0)).finish(&good, Some(&retried), false, "");
    let wanted = [
        ("Ready", "True", "Healthy"),
        ("Reconciling", "True", "GitOperationFailed"),
    ];
    assert_eq!(words(&told), wanted);
}

#[test]
fn what_serves_is_told_beside_what_does_not_hold_and_only_there() {
    let failed = Summary::failed(Code::StepFailed, "failed");
    let reported = while_serving(failed.clone(), Some("9c1b"));
    assert_ne!(reported.message, failed.message);
    assert_eq!((reported.reason, reported.holds), (failed.reason, false));
    assert_eq!(while_serving(failed.clone(), None), failed);

    let good = Summary::yes(Reason::Healthy, "serves");
    assert_eq!(while_serving(good.clone(), Some("9c1b")), good);
}
