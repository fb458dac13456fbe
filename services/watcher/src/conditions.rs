//! Conditions (metav1.Condition) from facts. Every kind's end the same way: `Ready` repeats the worst of the others, and
//! `Reconciling` and `Stalled` stand only while they are true, as kstatus reads them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use sequencer_api::code::WAITING;
use sequencer_api::status::{Failure, Section, State};

/// The most characters of a message.
const MESSAGE: usize = 1024;

/// Why a condition is as it is: the closed list that users meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It runs and answers.
    Healthy,
    /// A finite step is done.
    Completed,
    /// Under way.
    InProgress,
    /// Held back by what the message names; nothing is wrong.
    Waiting,
    /// It failed and is tried again soon.
    Retrying,
    /// It failed.
    Error,
    /// A newer commit took its place.
    Superseded,
    /// Held back by the user.
    Paused,
    /// Being deleted.
    Terminating,
}

impl Reason {
    /// As it stands in a condition.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Completed => "Completed",
            Self::InProgress => "InProgress",
            Self::Waiting => "Waiting",
            Self::Retrying => "Retrying",
            Self::Error => "Error",
            Self::Superseded => "Superseded",
            Self::Paused => "Paused",
            Self::Terminating => "Terminating",
        }
    }

    /// By its word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        const ALL: [Reason; 9] = [
            Reason::Healthy,
            Reason::Completed,
            Reason::InProgress,
            Reason::Waiting,
            Reason::Retrying,
            Reason::Error,
            Reason::Superseded,
            Reason::Paused,
            Reason::Terminating,
        ];
        ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// How bad it is: `Ready` repeats the worst.
    fn badness(self) -> u8 {
        match self {
            Self::Healthy | Self::Completed => 0,
            Self::Waiting => 1,
            Self::InProgress => 2,
            Self::Paused => 3,
            Self::Retrying => 4,
            Self::Superseded => 5,
            Self::Error => 6,
            Self::Terminating => 7,
        }
    }
}

/// What is known of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// True, or not.
    pub holds: bool,
    /// Why.
    pub reason: Reason,
    /// For people; begins with the code when something is wrong.
    pub message: String,
}

impl Fact {
    /// It holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: true, reason, message: message.into() }
    }

    /// It does not hold.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: false, reason, message: message.into() }
    }

    /// What a section says is wrong, or what it waits for; nothing if neither.
    #[must_use]
    pub fn wrong(section: &Section, failure: Option<&Failure>, generation: i64) -> Option<Self> {
        if section.observed_generation != Some(generation) {
            return None;
        }
        let error = section.state == Some(State::Error);
        let reason = if error { Reason::Error } else { Reason::Retrying };
        let failed = failure.filter(|_| error).map(|failure| {
            (failure.code.as_str(), failure.message.as_deref().or(failure.reason.as_deref()).unwrap_or_default())
        });
        let retried = section.retry.as_ref().map(|retry| (retry.code.as_str(), retry.message.as_str()));
        let (code, message) = failed.or(retried).filter(|(code, _)| !code.is_empty())?;
        if !error && WAITING.iter().any(|waiting| waiting.to_string() == code) {
            return Some(Self::no(Reason::InProgress, message));
        }
        Some(Self::no(reason, format!("{code} {message}")))
    }
}

/// The worst of some facts: what holds, if all do.
#[must_use]
pub fn worst<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Option<&'a Fact> {
    // The first of equals: the facts come in the order of the work.
    facts.into_iter().fold(None, |worst: Option<&Fact>, fact| match worst {
        Some(worst) if rank(worst) >= rank(fact) => Some(worst),
        _ => Some(fact),
    })
}

fn rank(fact: &Fact) -> u8 {
    if fact.holds { 0 } else { fact.reason.badness().max(1) }
}

/// The conditions of a kind, from the facts of its own ones.
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
        Self { before, generation, now, list: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, kind: &str, fact: &Fact) {
        let status = if fact.holds { "True" } else { "False" };
        let since = self.before.iter().find(|before| before.type_ == kind && before.status == status);
        self.list.push(Condition {
            type_: kind.into(),
            status: status.into(),
            reason: fact.reason.word().into(),
            message: fact.message.chars().take(MESSAGE).collect(),
            observed_generation: Some(self.generation),
            last_transition_time: since.map_or(Time(self.now), |before| before.last_transition_time.clone()),
        });
    }

    /// Adds `Ready`, and what follows from it. `stalled` tells a person what to do.
    #[must_use]
    pub fn finish(mut self, ready: &Fact, paused: bool, stalled: &str) -> Vec<Condition> {
        self.add("Ready", ready);
        match ready.reason {
            _ if ready.holds => {}
            Reason::Error | Reason::Superseded => self.add("Stalled", &Fact::yes(ready.reason, stalled)),
            Reason::Retrying => self.add("Reconciling", &Fact::yes(Reason::Retrying, ready.message.clone())),
            Reason::Paused => {}
            _ => self.add("Reconciling", &Fact::yes(Reason::InProgress, ready.message.clone())),
        }
        if paused {
            self.add("Paused", &Fact::yes(Reason::Paused, "spec.paused holds changes back"));
        }
        self.list
    }
}

/// A condition by its type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether a condition holds, and speaks of this generation.
#[must_use]
pub fn holds(conditions: &[Condition], kind: &str, generation: i64) -> bool {
    find(conditions, kind).is_some_and(|found| found.status == "True" && found.observed_generation == Some(generation))
}

/// The condition of another object, as a fact of this one; nothing if it speaks of an older generation.
#[must_use]
pub fn repeat(conditions: &[Condition], kind: &str, generation: i64) -> Option<Fact> {
    let found = find(conditions, kind).filter(|found| found.observed_generation == Some(generation))?;
    let reason = Reason::of(&found.reason)?;
    Some(Fact { holds: found.status == "True", reason, message: found.message.clone() })
}

#[cfg(test)]
mod tests {
    use sequencer_api::status::Retry;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn words(list: &[Condition]) -> Vec<(&str, &str, &str)> {
        list.iter().map(|each| (each.type_.as_str(), each.status.as_str(), each.reason.as_str())).collect()
    }

    #[test]
    fn ready_is_the_worst_and_of_equals_the_first() {
        let (source, build) = (Fact::no(Reason::InProgress, "a"), Fact::no(Reason::Waiting, "b"));
        let (pod, network) = (Fact::no(Reason::Error, "E#2005 c"), Fact::no(Reason::Error, "E#5011 d"));
        let good = Fact::yes(Reason::Healthy, "");
        assert_eq!(worst([&good, &source, &build]), Some(&source));
        assert_eq!(worst([&source, &pod, &network, &build]), Some(&pod));
        assert_eq!(worst([&good]), Some(&good));
        assert_eq!(worst([]), None);
    }

    #[test]
    fn reconciling_and_stalled_never_stand_together_and_neither_beside_a_ready_one() {
        for (fact, wanted) in [
            (Fact::yes(Reason::Healthy, ""), vec![("Ready", "True", "Healthy")]),
            (Fact::no(Reason::Waiting, ""), vec![("Ready", "False", "Waiting"), ("Reconciling", "True", "InProgress")]),
            (Fact::no(Reason::Retrying, ""), vec![("Ready", "False", "Retrying"), ("Reconciling", "True", "Retrying")]),
            (Fact::no(Reason::Error, ""), vec![("Ready", "False", "Error"), ("Stalled", "True", "Error")]),
        ] {
            assert_eq!(words(&Conditions::new(&[], 1, at(0)).finish(&fact, false, "")), wanted);
        }
    }

    #[test]
    fn what_only_takes_its_time_is_in_progress_and_shows_no_code_until_it_fails() {
        let section = |state, code: &str| Section {
            state: Some(state),
            observed_generation: Some(1),
            retry: Some(Retry {
                attempts: 1,
                next_attempt_at: Time(at(9)),
                code: code.into(),
                message: "0 pods are ready".into(),
                secret_versions: std::collections::BTreeMap::new(),
            }),
            ..Section::default()
        };
        for (state, code, reason, message) in [
            (State::InProgress, "E#3022", Reason::InProgress, "0 pods are ready"),
            (State::InProgress, "E#4002", Reason::InProgress, "0 pods are ready"),
            (State::Deleting, "E#3021", Reason::InProgress, "0 pods are ready"),
            (State::Error, "E#3022", Reason::Error, "E#3022 0 pods are ready"),
            (State::InProgress, "E#4001", Reason::Retrying, "E#4001 0 pods are ready"),
        ] {
            assert_eq!(Fact::wrong(&section(state, code), None, 1), Some(Fact::no(reason, message)), "{code}");
        }
    }

    #[test]
    fn the_time_is_that_of_the_last_change_of_status() {
        let first = Conditions::new(&[], 1, at(5)).finish(&Fact::no(Reason::Waiting, "a"), false, "");
        let second = Conditions::new(&first, 2, at(9)).finish(&Fact::no(Reason::InProgress, "b"), false, "");
        let third = Conditions::new(&second, 2, at(12)).finish(&Fact::yes(Reason::Healthy, ""), false, "");
        let since = |list: &[Condition]| find(list, "Ready").map(|ready| ready.last_transition_time.0);
        assert_eq!([since(&first), since(&second), since(&third)], [Some(at(5)), Some(at(5)), Some(at(12))]);
    }

    #[test]
    fn a_message_is_cut_and_a_stale_condition_is_not_repeated() {
        let list = Conditions::new(&[], 1, at(0)).finish(&Fact::yes(Reason::Healthy, "ü".repeat(3000)), false, "");
        assert_eq!(list[0].message.chars().count(), MESSAGE);
        assert!(repeat(&list, "Ready", 1).is_some() && repeat(&list, "Ready", 2).is_none());
        assert!(holds(&list, "Ready", 1) && !holds(&list, "Ready", 2));
    }
}
