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
mod tests;
