//! Conditions (metav1.Condition) from summaries. Every kind's end the same way: `Ready` repeats the
//! worst of the others, and `Reconciling` and `Stalled` stand only while they are true, as kstatus
//! reads them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, ResourceExt as _};
use sequencer_api::condition::{ConditionType, Reason, Severity, Summary, find, holds};
use sequencer_api::labels;
use sequencer_api::status::{Failure, Section, State};
use sequencer_api::stored::Stored as _;

/// Returns what a section says is wrong, or what it waits for; None if neither.
#[must_use]
pub fn wrong(section: &Section, failure: Option<&Failure>, generation: i64) -> Option<Summary> {
    if section.observed_generation != Some(generation) {
        return None;
    }

    let error = section.state == Some(State::Error);
    let failed = failure.filter(|_| error).map(|failure| {
        let message = failure.message.as_deref();
        (failure.code, message.unwrap_or(failure.code.meaning()))
    });
    let retried = section
        .retry
        .as_ref()
        .map(|retry| (retry.code, retry.message.as_str()));
    let (code, message) = failed.or(retried)?;

    if !error && code.is_waiting() {
        return Some(Summary::no(Reason::InProgress, message));
    }

    Some(Summary {
        retried: !error,
        ..Summary::failed(code, message)
    })
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

    /// Adds `Ready`, and what follows from it. `stalled` says to a person what to do.
    #[must_use]
    pub fn finish(mut self, ready: &Summary, paused: bool, stalled: &str) -> Vec<Condition> {
        self.add(ConditionType::Ready, ready);

        let reconciling = match ready.severity() {
            Severity::Good | Severity::Paused | Severity::Superseded | Severity::Failed => None,
            Severity::Retried => Some(ready.reason),
            Severity::Waiting | Severity::InProgress | Severity::Terminating => {
                Some(Reason::InProgress)
            }
        };

        if let Some(reason) = reconciling {
            let summary = Summary::yes(reason, ready.message.clone());
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
    use sequencer_api::code::Code;
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
                words(&Conditions::new(&[], 1, at(0)).finish(&ready, false, "")),
                wanted
            );
        }
    }

    #[test]
    fn what_only_takes_its_time_is_in_progress_and_shows_no_code_until_it_fails() {
        let message = "0 pods are ready";
        let section = |state, code| Section {
            state: Some(state),
            observed_generation: Some(1),
            retry: Some(Retry {
                attempts: 1,
                next_attempt_at: Time(at(9)),
                code,
                message: message.into(),
                secret_versions: std::collections::BTreeMap::new(),
            }),
            ..Section::default()
        };

        let in_progress = Summary::no(Reason::InProgress, message);

        for (state, code, wanted) in [
            (
                State::InProgress,
                Code::ConnectorNotConnected,
                in_progress.clone(),
            ),
            (
                State::InProgress,
                Code::RecordNotResolved,
                in_progress.clone(),
            ),
            (
                State::Deleting,
                Code::ExternalDeletionPending,
                in_progress.clone(),
            ),
            (
                State::Error,
                Code::ConnectorNotConnected,
                Summary::failed(Code::ConnectorNotConnected, message),
            ),
            (
                State::InProgress,
                Code::ProviderUnavailable,
                Summary {
                    retried: true,
                    ..Summary::failed(Code::ProviderUnavailable, message)
                },
            ),
        ] {
            assert_eq!(
                wrong(&section(state, code), None, 1),
                Some(wanted),
                "{code}"
            );
            assert_eq!(wrong(&section(state, code), None, 2), None, "{code}");
        }
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
