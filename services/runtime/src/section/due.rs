//! Whether there is work to do, by what a section says. Pure. Workers and the watcher ask the same
//! function: what the watcher sends a message for, a worker finds due.

use jiff::Timestamp;
use sequencer_api::status::{Section, State};

use super::claim::Holder;

/// When there is work to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Not until the object or what it is made from changes.
    Never,
    /// Now.
    Now,
    /// Not before this time: somebody works at it, or the wait after a failure is not over.
    At(Timestamp),
    /// As soon as one of the Secrets changes that the failure may come from, and at this time if
    /// there is one.
    IfSecretChanged(Option<Timestamp>),
}

/// What a finished section means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// It stays so for this generation.
    Final,
    /// It stays so until a person asks for another try.
    UntilAsked,
    /// It is handled again by every message.
    Polled,
}

impl Finality {
    /// Whether a section records what is wanted of its object. `deleting` says that what it stands
    /// for is to go, `asked` that a person asked for another try.
    #[must_use]
    pub fn is_finished(
        self,
        section: &Section,
        generation: i64,
        deleting: bool,
        asked: bool,
    ) -> bool {
        if deleting {
            return section.state == Some(State::Gone);
        }

        let stays = match self {
            Self::Final => true,
            Self::UntilAsked => !asked,
            Self::Polled => false,
        };

        let reached =
            section.is(State::Completed, generation) || section.is(State::Healthy, generation);

        stays && reached && section.retry.is_none()
    }
}

/// What is known of an object beside its section.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether the section records what is wanted ([`Finality::is_finished`]).
    pub finished: bool,
    /// Whether a person asked for another try.
    pub asked: bool,
}

/// Decides when there is work to do. A claim of `me` is no reason to wait: a process works at
/// nothing twice at once, and another process of this pod is gone.
#[must_use]
pub fn due(section: &Section, wanted: Wanted, me: Option<&Holder>, now: Timestamp) -> Due {
    if let Some(until) = claim_of_another(section, me, now) {
        return Due::At(until);
    }

    if wanted.finished {
        return Due::Never;
    }

    // A claim is in a section only until a record takes its place: this one ended in none.
    let interrupted = section.claim.is_some();
    // A changed spec is a new attempt.
    let changed = section.observed_generation != Some(wanted.generation);
    if interrupted || changed || wanted.asked {
        return Due::Now;
    }

    let Some(retry) = &section.retry else {
        return Due::Now;
    };

    let next = retry.next_attempt_at.as_ref().map(|next| next.0);
    match next {
        Some(next) if next <= now => Due::Now,
        next if !retry.secret_versions.is_empty() => Due::IfSecretChanged(next),
        Some(next) => Due::At(next),
        None => Due::Never,
    }
}

fn claim_of_another(section: &Section, me: Option<&Holder>, now: Timestamp) -> Option<Timestamp> {
    section
        .claim
        .as_ref()
        .filter(|claim| claim.until.0 > now)
        .filter(|claim| !me.is_some_and(|me| me.supersedes(claim)))
        .map(|claim| claim.until.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use sequencer_api::code::Code;
    use sequencer_api::status::{Claim, Retry};

    use super::*;

    /// What a message asks for.
    #[derive(Clone, Copy, Debug)]
    struct Question {
        generation: i64,
        deleting: bool,
        asked: bool,
        finality: Finality,
    }

    const WANTED: Question = Question {
        generation: 2,
        deleting: false,
        asked: false,
        finality: Finality::UntilAsked,
    };

    fn judged_by(section: &Section, question: Question, me: Option<&Holder>) -> Due {
        let Question {
            generation,
            deleting,
            asked,
            finality,
        } = question;
        let wanted = Wanted {
            generation,
            finished: finality.is_finished(section, generation, deleting, asked),
            asked,
        };

        due(section, wanted, me, at(100))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn section(state: State) -> Section {
        Section {
            rev: 1,
            state: Some(state),
            observed_generation: Some(2),
            claim: None,
            retry: None,
            asked: None,
        }
    }

    fn failed(next: i64, secret: bool) -> Section {
        let versions = secret.then(|| ("a/b".to_owned(), "7".to_owned()));
        Section {
            retry: Some(Retry {
                attempts: 1,
                since: None,
                next_attempt_at: Some(Time(at(next))),
                code: Code::ProviderUnavailable,
                message: String::new(),
                secret_versions: BTreeMap::from_iter(versions),
            }),
            ..section(State::Error)
        }
    }

    fn claimed(until: i64) -> Section {
        Section {
            claim: Some(Claim {
                holder: "pod/1".into(),
                until: Time(at(until)),
                attempts: 0,
            }),
            ..failed(500, false)
        }
    }

    fn judged(section: &Section, question: Question) -> Due {
        judged_by(section, question, None)
    }

    #[test]
    fn what_was_never_worked_at_is_due() {
        assert_eq!(judged(&Section::default(), WANTED), Due::Now);
        assert_eq!(judged(&section(State::InProgress), WANTED), Due::Now);
    }

    #[test]
    fn what_is_finished_stays_so_until_the_spec_changes_or_it_is_to_go() {
        for state in [State::Completed, State::Healthy] {
            assert_eq!(judged(&section(state), WANTED), Due::Never);
            for other in [
                Question {
                    generation: 3,
                    ..WANTED
                },
                Question {
                    deleting: true,
                    ..WANTED
                },
            ] {
                assert_eq!(judged(&section(state), other), Due::Now);
            }
        }
    }

    #[test]
    fn what_is_gone_stays_so_as_long_as_it_is_not_wanted() {
        let gone = section(State::Gone);

        for asked in [false, true] {
            let deleting = Question {
                deleting: true,
                asked,
                ..WANTED
            };
            assert_eq!(judged(&gone, deleting), Due::Never);
        }

        assert_eq!(judged(&gone, WANTED), Due::Now);
    }

    #[test]
    fn finality_says_what_a_request_does_to_what_is_finished() {
        let done = section(State::Completed);
        for (finality, asked, wanted) in [
            (Finality::Final, false, Due::Never),
            (Finality::Final, true, Due::Never),
            (Finality::UntilAsked, true, Due::Now),
            (Finality::Polled, false, Due::Now),
        ] {
            let asked = Question {
                finality,
                asked,
                ..WANTED
            };
            assert_eq!(judged(&done, asked), wanted, "{asked:?}");
        }
    }

    #[test]
    fn a_failure_waits_unless_its_time_has_come_the_spec_changed_or_a_person_asks() {
        assert_eq!(judged(&failed(101, false), WANTED), Due::At(at(101)));
        assert_eq!(judged(&failed(100, false), WANTED), Due::Now);
        for finality in [Finality::Final, Finality::UntilAsked, Finality::Polled] {
            for other in [
                Question {
                    asked: true,
                    finality,
                    ..WANTED
                },
                Question {
                    generation: 3,
                    finality,
                    ..WANTED
                },
            ] {
                assert_eq!(judged(&failed(101, false), other), Due::Now);
            }
        }
    }

    #[test]
    fn a_failure_that_a_secret_may_have_caused_is_due_when_that_changes() {
        assert_eq!(
            judged(&failed(101, true), WANTED),
            Due::IfSecretChanged(Some(at(101)))
        );
        assert_eq!(judged(&failed(100, true), WANTED), Due::Now);
    }

    #[test]
    fn what_is_not_tried_again_by_itself_is_due_when_somebody_changes_something_or_asks() {
        let never = |secret| {
            let mut section = failed(101, secret);
            section.retry.as_mut().unwrap().next_attempt_at = None;
            section
        };
        assert_eq!(judged(&never(false), WANTED), Due::Never);
        assert_eq!(judged(&never(true), WANTED), Due::IfSecretChanged(None));

        for other in [
            Question {
                asked: true,
                ..WANTED
            },
            Question {
                generation: 3,
                ..WANTED
            },
        ] {
            assert_eq!(judged(&never(false), other), Due::Now, "{other:?}");
        }
    }

    #[test]
    fn a_finished_section_that_waits_for_something_is_looked_at_when_its_time_has_come() {
        let resolving = Section {
            retry: failed(101, false).retry,
            ..section(State::Healthy)
        };
        assert_eq!(judged(&resolving, WANTED), Due::At(at(101)));
    }

    #[test]
    fn nothing_is_due_while_another_works_at_it_and_everything_once_he_stopped() {
        let asked = Question {
            asked: true,
            generation: 3,
            ..WANTED
        };

        assert_eq!(judged(&claimed(101), asked), Due::At(at(101)));
        // The claim is over: it ended in no record, whatever the failure before it says.
        assert_eq!(judged(&claimed(100), WANTED), Due::Now);
    }

    #[test]
    fn a_claim_of_this_pod_is_no_reason_to_wait() {
        let (mine, other) = (Holder::of("pod", "2"), Holder::of("other", "2"));
        let ask = |me| judged_by(&claimed(101), WANTED, Some(me));
        assert_eq!(ask(&mine), Due::Now);
        assert_eq!(ask(&other), Due::At(at(101)));
    }
}
