//! The life of a section that is derived from the cluster, the same for both kinds: each reconcile
//! begins it anew, and it is written once it is time.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use sequencer_api::status::{self, Section, State, StatusSection};
use sequencer_api::stored::Stored as _;
use sequencer_runtime::retry::Waits;
use sequencer_runtime::section::{self, Failing, StatusPatch, Versions};
use sequencer_runtime::status_writer::{Decision, Difference};

use crate::error::{Error, ObjectError};
use crate::service::Service;

/// A section that was derived from an object and what belongs to it.
pub(crate) struct Derived<'a, S: StatusSection> {
    /// The object as it was read.
    pub(crate) object: &'a S::Object,
    pub(crate) section: &'a S,
    /// How it differs from what was read.
    pub(crate) difference: Option<Difference>,
}

/// Returns the section with another state, for the generation that was read. The rest of it stays.
pub(crate) fn begin<S: StatusSection>(object: &S::Object, state: State) -> S {
    let mut section = S::of(object);
    let common = section.common_mut();
    *common = common.ended(state, object.generation(), None);
    section
}

/// Returns the section of an object that could not be made as it asks. `read` are the Secrets that
/// were read for it.
pub(crate) fn failed<S: StatusSection>(
    object: &S::Object,
    error: &ObjectError,
    read: Versions,
    waits: &Waits,
) -> S {
    let failing = Failing::of(error);
    let mut section: S = begin(object, failing.state);
    section.common_mut().retry = Some(retry::<S>(object, &failing, read, waits, Timestamp::now()));
    section
}

/// Returns when it is tried again: as was recorded, unless that is over, one of the Secrets changed
/// or something else failed.
pub(crate) fn retry<S: StatusSection>(
    object: &S::Object,
    failing: &Failing,
    read: Versions,
    waits: &Waits,
    now: Timestamp,
) -> status::Retry {
    let (before, generation) = (S::of(object), object.generation());
    let before = before.common();
    let retry = section::failed(before, generation, failing, read, waits, object.uuid(), now);

    let standing = before.retry.as_ref().filter(|standing| {
        before.observed_generation == Some(generation)
            && standing.code == retry.code
            && standing.secret_versions == retry.secret_versions
            && standing
                .next_attempt_at
                .as_ref()
                .is_none_or(|at| at.0 > now)
    });

    standing.cloned().unwrap_or(retry)
}

/// How long it is until what failed is tried again.
pub(crate) fn until_retry(section: &Section) -> Option<Duration> {
    let at = section.retry.as_ref()?.next_attempt_at.as_ref()?.0;
    let wait = at.duration_since(Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

impl Service {
    /// Writes a section once it is time. Returns how long that is, if it is not yet.
    pub(crate) async fn record<S: StatusSection>(
        &self,
        api: &Api<S::Object>,
        derived: Derived<'_, S>,
    ) -> Result<Option<Duration>, Error> {
        let Derived {
            object,
            section,
            difference,
        } = derived;

        let (uid, now) = (object.uid_str(), Timestamp::now());
        match self.statuses().decide(uid.to_owned(), difference, now) {
            Decision::Nothing => return Ok(None),
            Decision::Later(at) => {
                let wait = Duration::try_from(at.duration_since(now));
                return Ok(Some(wait.unwrap_or_default()));
            }
            Decision::Now => {}
        }

        let rev = S::of(object).common().rev;
        let patch = StatusPatch::new(uid).section(S::NAME, rev, section)?;
        let _: S::Object = patch.apply(api, &object.name_any()).await?;

        self.statuses().wrote(uid.to_owned(), now);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::Component;
    use sequencer_api::code::Code;
    use sequencer_api::host::Refusal;
    use sequencer_api::status::component::DeploySection;
    use sequencer_runtime::retry::Retry;
    use serde_json::json;

    use super::*;

    const WAITS: Waits = Waits {
        first: Duration::from_secs(5),
        longest: Duration::from_secs(900),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn component(section: &DeploySection) -> Component {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "a", "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10", "generation": 2},
            "spec": {"name": "c", "template": {"containers": []}},
            "status": {"deploy": section},
        }))
        .unwrap()
    }

    fn failing(code: Code) -> Failing {
        Failing {
            code,
            message: "words".into(),
            retry: Retry::Backoff,
            may_be_a_secrets: true,
            state: State::Error,
        }
    }

    fn versions(version: &str) -> Versions {
        Versions::from([("a/login".into(), version.into())])
    }

    /// When it is tried again that failed at second 1000, with a Secret in version 7.
    fn recorded(code: Code) -> (Component, status::Retry) {
        let (failing, new) = (failing(code), component(&DeploySection::default()));
        let retry = retry::<DeploySection>(&new, &failing, versions("7"), &WAITS, at(1000));
        let mut section: DeploySection = begin(&new, State::Error);
        section.section.retry = Some(retry);

        // As it was stored: times have no fractions there.
        let stored = component(&section);
        let retry = DeploySection::of(&stored).section.retry.unwrap();
        (stored, retry)
    }

    #[test]
    fn what_is_recorded_of_a_failure_stands_until_it_is_over() {
        let (code, other) = (Code::AdmissionDenied, Code::ObjectNotOwned);
        let (before, first) = recorded(code);
        let again = |code, version, second| {
            let (failing, versions) = (failing(code), versions(version));
            retry::<DeploySection>(&before, &failing, versions, &WAITS, at(second))
        };

        assert_eq!(again(code, "7", 1001), first);
        assert_eq!(again(code, "7", 1005).attempts, 2);
        assert_eq!(again(code, "8", 1001).attempts, 2);
        assert_eq!(again(other, "7", 1001).code, other);
    }

    #[test]
    fn a_failure_of_another_generation_is_the_first_of_its_own() {
        let (mut before, first) = recorded(Code::AdmissionDenied);
        before.metadata.generation = Some(3);
        let failing = failing(Code::AdmissionDenied);
        let again = retry::<DeploySection>(&before, &failing, versions("7"), &WAITS, at(1001));

        assert_eq!(again.attempts, 1);
        assert_ne!(again.next_attempt_at, first.next_attempt_at);
    }

    #[test]
    fn a_section_that_fails_keeps_what_it_says_of_what_serves() {
        let serving = DeploySection {
            revision: Some("a".into()),
            section: Section {
                rev: 4,
                state: Some(State::Healthy),
                ..Section::default()
            },
            ..DeploySection::default()
        };

        let refusal = Refusal::new(Code::PrivilegeForbidden, "words");
        let failed: DeploySection = failed(
            &component(&serving),
            &refusal.into(),
            Versions::new(),
            &WAITS,
        );
        let common = &failed.section;

        assert_eq!(failed.revision.as_deref(), Some("a"));
        assert_eq!((common.rev, common.observed_generation), (4, Some(2)));
        assert_eq!(common.state, Some(State::Error));
        assert_eq!(
            common.retry.as_ref().map(|retry| retry.code),
            Some(Code::PrivilegeForbidden)
        );
    }
}
