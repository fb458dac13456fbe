//! Conditions (metav1.Condition) from summaries. Every kind's end the same way: `Ready` repeats the
//! worst of the others, and `Reconciling` and `Stalled` stand only while they are true, as kstatus
//! reads them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, ResourceExt as _};
use sequencer_api::code::{Cause, Code};
use sequencer_api::condition::{ConditionType, Reason, Severity, Summary, find, holds};
use sequencer_api::labels;
use sequencer_api::status::{Failure, Section, State};
use sequencer_api::stored::Stored as _;

/// How long what nobody here caused may go on before a person is asked to look at it.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Returns what a section says is wrong, or what it waits for; None if neither.
#[must_use]
pub fn wrong(
    section: &Section,
    failure: Option<&Failure>,
    generation: i64,
    now: Timestamp,
) -> Option<Summary> {
    if section.observed_generation != Some(generation) {
        return None;
    }

    let error = section.state == Some(State::Error);
    let failed = failure.filter(|_| error).map(|failure| {
        let message = failure.message.as_deref();
        (failure.code, message.unwrap_or(failure.code.meaning()))
    });
    let retry = section.retry.as_ref();
    let retried = retry.map(|retry| (retry.code, retry.message.as_str()));
    let (code, message) = failed.or(retried)?;

    if !error && code.is_waiting() {
        return Some(Summary::no(Reason::InProgress, message));
    }

    Some(failing(code, message, since(section, failure), now))
}

/// Returns a failure that has lasted since then. Until a person is needed it only is tried again: at
/// once where a person caused it, else once it has lasted.
#[must_use]
pub fn failing(code: Code, message: &str, since: Option<Timestamp>, now: Timestamp) -> Summary {
    let lasted = since.and_then(patience_ends).is_some_and(|end| end <= now);

    Summary {
        retried: code.cause() != Cause::User && !lasted,
        ..Summary::failed(code, message)
    }
}

/// Returns when what is wrong has lasted so long that a person is asked to look at it.
#[must_use]
pub fn stalls_at(section: &Section, failure: Option<&Failure>) -> Option<Timestamp> {
    since(section, failure).and_then(patience_ends)
}

/// Returns when what is wrong since then has lasted so long.
#[must_use]
pub fn patience_ends(since: Timestamp) -> Option<Timestamp> {
    since.checked_add(PATIENCE).ok()
}

fn since(section: &Section, failure: Option<&Failure>) -> Option<Timestamp> {
    let retry = section
        .retry
        .as_ref()
        .and_then(|retry| retry.since.as_ref());
    let failure = failure.and_then(|failure| failure.since.as_ref());
    retry.or(failure).map(|since| since.0)
}

/// What is true of a whole, by what is true of its parts.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// The worst part, unless all of them hold.
    pub wrong: Option<&'a Summary>,
    /// What is tried again while the whole stays as it is.
    pub retried: Option<&'a Summary>,
}

impl<'a> Verdict<'a> {
    /// What is true of parts in the order of the work. Those of the kinds `looked_at` were good
    /// before and are looked at again and again: one that fails in passing unmakes nothing.
    #[must_use]
    pub fn of(parts: &'a [(ConditionType, Summary)], looked_at: &[ConditionType]) -> Self {
        let all = || parts.iter().map(|(_, part)| part);
        let (passing, lasting): (Vec<_>, Vec<_>) = parts.iter().partition(|(kind, part)| {
            looked_at.contains(kind) && part.severity() == Severity::Retried
        });

        if lasting.iter().all(|(_, part)| part.holds) {
            Self {
                wrong: None,
                retried: Summary::worst(passing.into_iter().map(|(_, part)| part)),
            }
        } else {
            Self {
                wrong: Summary::worst(all()),
                retried: None,
            }
        }
    }
}

/// Returns a summary that also says which commit serves meanwhile.
#[must_use]
pub fn while_serving(summary: Summary, commit: Option<&str>) -> Summary {
    match commit {
        Some(commit) if !summary.holds => Summary {
            message: format!("{}; {commit} still serves", summary.message),
            ..summary
        },
        _ => summary,
    }
}

/// Returns what is known of an object, once its own status says as much for this generation: until
/// then others would see more than it says itself.
#[must_use]
pub fn as_reported(
    ready: Summary,
    conditions: &[Condition],
    generation: i64,
    until_then: Summary,
) -> Summary {
    let reported = find(conditions, ConditionType::Ready)
        .is_some_and(|reported| reported.observed_generation == Some(generation));
    let agrees = !ready.holds || holds(conditions, ConditionType::Ready);

    if reported && agrees {
        ready
    } else {
        until_then
    }
}

/// Returns what a person can do about an object that is not ready: the remedy of the code, and how
/// to try again now.
#[must_use]
pub fn advice<K: Resource>(ready: &Summary, resource: &str, object: &K) -> String {
    let remedy = ready.reason.code().map_or("", |code| code.remedy());
    let namespace = object.namespace_str();
    format!(
        "{remedy} To try again now: kubectl annotate -n {namespace} {resource} {} {}=\"$(date +%s)\" --overwrite",
        object.name_any(),
        labels::RETRY
    )
}

/// The conditions of an object, from the summaries of its own ones.
#[derive(Debug)]
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// None yet; `before` are those in the status.
    #[must_use]
    pub fn new(before: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            now,
            list: Vec::new(),
        }
    }

    pub fn add(&mut self, kind: ConditionType, summary: &Summary) {
        let now = Time(self.now);
        self.list
            .push(summary.condition(kind, self.generation, self.before, now));
    }

    /// Adds `Ready`, and what follows from it. `retried` is what is tried again although it holds,
    /// and `stalled` says to a person what to do.
    #[must_use]
    pub fn finish(
        mut self,
        ready: &Summary,
        retried: Option<&Summary>,
        paused: bool,
        stalled: &str,
    ) -> Vec<Condition> {
        self.add(ConditionType::Ready, ready);

        let under_way = retried.unwrap_or(ready);
        let reconciling = match under_way.severity() {
            Severity::Good | Severity::Paused | Severity::Superseded | Severity::Failed => None,
            Severity::Retried => Some(under_way.reason),
            Severity::Waiting | Severity::InProgress | Severity::Terminating => {
                Some(Reason::InProgress)
            }
        };

        if let Some(reason) = reconciling {
            let summary = Summary::yes(reason, under_way.message.clone());
            self.add(ConditionType::Reconciling, &summary);
        }

        if matches!(ready.severity(), Severity::Superseded | Severity::Failed) {
            let summary = Summary::yes(ready.reason, stalled);
            self.add(ConditionType::Stalled, &summary);
        }

        if paused {
            let summary = Summary::yes(Reason::Paused, "spec.paused holds changes back");
            self.add(ConditionType::Paused, &summary);
        }

        self.list
    }
}

#[cfg(test)]
mod tests {
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
}
