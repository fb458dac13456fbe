//! When the worker of a section is to be woken.

use jiff::Timestamp;
use sequencer_api::status::{Section, State};

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is as it should be.
    Never,
    /// Now.
    Now,
    /// Not before: somebody works at it, or the wait after a failure is not over.
    At(Timestamp),
    /// At this moment, or as soon as a Secret changed.
    Secret(Timestamp),
}

/// By a section; `settled` says whether what it records is what is wanted, and `generation` is the object's.
#[must_use]
pub fn due(section: &Section, settled: bool, generation: i64, now: Timestamp) -> Due {
    if let Some(claim) = section.claim.as_ref().filter(|claim| claim.until.0 > now) {
        return Due::At(claim.until.0);
    }
    if settled {
        return Due::Never;
    }
    // A changed spec is a new attempt.
    match section.retry.as_ref().filter(|_| section.observed_generation == Some(generation)) {
        Some(retry) if retry.next_attempt_at.0 <= now => Due::Now,
        Some(retry) if retry.secret_versions.is_empty() => Due::At(retry.next_attempt_at.0),
        Some(retry) => Due::Secret(retry.next_attempt_at.0),
        None => Due::Now,
    }
}

/// Whether a section says so of this generation.
#[must_use]
pub fn is(section: &Section, state: State, generation: i64) -> bool {
    section.state == Some(state) && section.observed_generation == Some(generation)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use sequencer_api::status::{Claim, Retry};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failed(next: i64, secret: bool) -> Section {
        let secrets = if secret { BTreeMap::from([("a/b".into(), "1".into())]) } else { BTreeMap::new() };
        let retry = Retry {
            attempts: 1,
            next_attempt_at: Time(at(next)),
            code: "E#1016".into(),
            message: String::new(),
            secret_versions: secrets,
        };
        Section { observed_generation: Some(2), retry: Some(retry), ..Section::default() }
    }

    #[test]
    fn nothing_is_woken_while_a_claim_lives_and_everything_when_it_is_over() {
        let claim = Claim { holder: "a/1".into(), until: Time(at(10)), attempts: 0 };
        let section = Section { claim: Some(claim), ..Section::default() };
        assert_eq!(due(&section, false, 1, at(9)), Due::At(at(10)));
        assert_eq!(due(&section, false, 1, at(10)), Due::Now);
        assert_eq!(due(&Section::default(), true, 1, at(0)), Due::Never);
    }

    #[test]
    fn a_failure_waits_unless_the_spec_or_a_secret_changed() {
        assert_eq!(due(&failed(10, false), false, 2, at(9)), Due::At(at(10)));
        assert_eq!(due(&failed(10, false), false, 2, at(10)), Due::Now);
        assert_eq!(due(&failed(10, true), false, 2, at(9)), Due::Secret(at(10)));
        assert_eq!(due(&failed(10, false), false, 3, at(9)), Due::Now);
    }
}
