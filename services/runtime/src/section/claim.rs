//! Who works at something that must not be done twice at once. Pure: reading and writing sections
//! is the caller's.
//!
//! A claim stands in the section that its work will be recorded in, and the record takes it away.
//! So a claim that is over ended in no record, and `attempts` counts those before it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;

use crate::args::{Args, Periods};
use crate::retry::later;

use sequencer_api::status::Claim;

/// So many claims in a row that ended without a record make an object poisonous.
pub(super) const POISON: i32 = 8;

/// This process as a holder of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pod: String,
    nonce: String,
}

/// How long claims last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Unless renewed.
    pub(super) lasts: Duration,
    /// Between renewals.
    pub(super) renew: Duration,
}

/// What may be done about a piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Write this claim, and work once it is written.
    Take(Claim),
    /// Somebody else works at it: acknowledge and forget. The watcher notifies at this
    /// time.
    Elsewhere(Timestamp),
    /// Do not work at it: record that it is poisonous, with a retry.
    Poison,
}

impl Holder {
    /// This process; another process of the same pod is another holder.
    #[must_use]
    pub(super) fn new(args: &Args) -> Self {
        let mut nonce = Uuid::new_v4().simple().to_string();
        nonce.truncate(8);
        Self {
            pod: args.pod.clone(),
            nonce,
        }
    }

    /// The process `nonce` of a pod.
    #[cfg(test)]
    pub(super) fn of(pod: &str, nonce: &str) -> Self {
        Self {
            pod: pod.into(),
            nonce: nonce.into(),
        }
    }

    /// Whether the process that made a claim is certainly gone, or is this one: a process works at
    /// nothing twice at once.
    pub(super) fn supersedes(&self, claim: &Claim) -> bool {
        claim
            .holder
            .split_once('/')
            .is_some_and(|(pod, _)| pod == self.pod)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.nonce)
    }
}

impl From<&Periods> for Terms {
    fn from(periods: &Periods) -> Self {
        Self {
            lasts: periods.claim,
            renew: periods.claim_renew,
        }
    }
}

/// What `me` may do about work that carries this claim.
#[must_use]
pub(super) fn judge(claim: Option<&Claim>, me: &Holder, terms: Terms, now: Timestamp) -> Verdict {
    let before = match claim {
        None => 0,
        Some(claim) if claim.until.0 > now && !me.supersedes(claim) => {
            return Verdict::Elsewhere(claim.until.0);
        }
        Some(claim) => claim.attempts.saturating_add(1),
    };

    if before >= POISON {
        return Verdict::Poison;
    }

    Verdict::Take(Claim {
        holder: me.to_string(),
        until: Time(later(now, terms.lasts)),
        attempts: before,
    })
}

/// The same claim for as long again, or nothing if it is not mine any more: stop working and
/// discard the result.
#[must_use]
pub(super) fn renewed(
    claim: Option<&Claim>,
    me: &Holder,
    terms: Terms,
    now: Timestamp,
) -> Option<Claim> {
    let claim = claim.filter(|claim| claim.holder == me.to_string())?;
    Some(Claim {
        until: Time(later(now, terms.lasts)),
        ..claim.clone()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms {
        lasts: Duration::from_secs(120),
        renew: Duration::from_secs(40),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim(holder: &str, until: i64, attempts: i32) -> Claim {
        Claim {
            holder: holder.into(),
            until: Time(at(until)),
            attempts,
        }
    }

    #[test]
    fn free_work_is_taken_for_two_minutes() {
        assert_eq!(
            judge(None, &Holder::of("a", "1"), TERMS, at(0)),
            Verdict::Take(claim("a/1", 120, 0))
        );
    }

    #[test]
    fn a_live_claim_of_another_pod_is_left_alone_until_it_is_over() {
        let theirs = claim("b/1", 120, 0);
        assert_eq!(
            judge(Some(&theirs), &Holder::of("a", "1"), TERMS, at(119)),
            Verdict::Elsewhere(at(120))
        );
        assert_eq!(
            judge(Some(&theirs), &Holder::of("a", "1"), TERMS, at(120)),
            Verdict::Take(claim("a/1", 240, 1))
        );
    }

    #[test]
    fn a_claim_of_my_pod_by_another_process_is_dead() {
        let theirs = claim("a/0", 120, 0);
        assert_eq!(
            judge(Some(&theirs), &Holder::of("a", "1"), TERMS, at(1)),
            Verdict::Take(claim("a/1", 121, 1))
        );
    }

    #[test]
    fn a_pod_whose_name_begins_like_mine_is_another() {
        let theirs = claim("a-2/1", 120, 0);
        assert_eq!(
            judge(Some(&theirs), &Holder::of("a", "1"), TERMS, at(1)),
            Verdict::Elsewhere(at(120))
        );
    }

    #[test]
    fn what_i_could_not_record_i_take_up_again() {
        let mine = claim("a/1", 120, 0);
        assert_eq!(
            judge(Some(&mine), &Holder::of("a", "1"), TERMS, at(1)),
            Verdict::Take(claim("a/1", 121, 1))
        );
    }

    #[test]
    fn eight_claims_without_a_record_are_poison_but_only_once_the_last_is_over() {
        let eighth = claim("b/1", 120, POISON - 1);
        assert_eq!(
            judge(Some(&eighth), &Holder::of("a", "1"), TERMS, at(1)),
            Verdict::Elsewhere(at(120))
        );
        assert_eq!(
            judge(Some(&eighth), &Holder::of("a", "1"), TERMS, at(120)),
            Verdict::Poison
        );
        assert_eq!(
            judge(
                Some(&claim("b/1", 0, POISON - 2)),
                &Holder::of("a", "1"),
                TERMS,
                at(1)
            ),
            { Verdict::Take(claim("a/1", 121, POISON - 1)) }
        );
    }

    #[test]
    fn a_claim_is_renewed_only_by_the_process_that_holds_it() {
        let mine = claim("a/1", 120, 3);
        assert_eq!(
            renewed(Some(&mine), &Holder::of("a", "1"), TERMS, at(40)),
            Some(claim("a/1", 160, 3))
        );
        assert_eq!(
            renewed(Some(&mine), &Holder::of("a", "2"), TERMS, at(40)),
            None
        );
        assert_eq!(renewed(None, &Holder::of("a", "1"), TERMS, at(40)), None);
    }

    proptest! {
        #[test]
        fn two_pods_never_both_work(now in 0_i64..1000, until in 0_i64..1000, attempts in 0_i32..20, text in "\\PC{0,40}") {
            let found = claim(&text, until, attempts);
            let verdicts = [("a", "1"), ("b", "1")].map(|(pod, nonce)| {
                let me = Holder::of(pod, nonce);
                match judge(Some(&found), &me, TERMS, at(now)) {
                    // What the second one sees once the first one's claim is written.
                    Verdict::Take(taken) => judge(Some(&taken), &Holder::of("c", "1"), TERMS, at(now)),
                    other => other,
                }
            });
            for verdict in verdicts {
                prop_assert!(!matches!(verdict, Verdict::Take(_)), "{verdict:?}");
            }
        }
    }
}
