//! The section as it is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::code::Code;
use sequencer_api::host::Refusal;
use sequencer_api::labels::commit12;
use sequencer_api::status::component::{DeploySection, WaitingFor};
use sequencer_api::status::{Failure, State, StatusSection as _};
use sequencer_runtime::retry::{Retry, Waits};
use sequencer_runtime::section::{Failing, SecretReader, Versions};
use sequencer_runtime::status_writer::Difference;

use crate::error::ObjectError;
use crate::plan::{Plan, View, Workload, is_deployment};
use crate::readiness::{Health, Trouble};
use crate::section::{begin, failed, retry};

/// The most characters of what a probe says.
const MESSAGE: usize = 512;

/// What stands in the status that was read.
pub(super) fn before(view: &View) -> DeploySection {
    DeploySection::of(&view.component)
}

/// What every section of this generation begins with. What serves stays until something else does.
fn anew(view: &View, state: State) -> DeploySection {
    cleared(begin(&view.component, state))
}

/// Without what was awaited, pulled or wrong before.
fn cleared(section: DeploySection) -> DeploySection {
    DeploySection {
        waiting_for: Vec::new(),
        pulling: None,
        probe: None,
        failure: None,
        ..section
    }
}

/// It is held back.
pub(super) fn waiting(view: &View, mut waiting_for: Vec<WaitingFor>) -> DeploySection {
    waiting_for.truncate(16);
    DeploySection {
        waiting_for,
        revision: None,
        ..anew(view, State::Waiting)
    }
}

/// Whether a Job of this very template has run: one that is gone since is not run again.
pub(super) fn has_run(view: &View, workload: &Workload) -> bool {
    let before = before(view);
    !is_deployment(&workload.object)
        && before.section.state == Some(State::Completed)
        && before.revision.as_ref() == Some(&workload.revision)
}

/// Whether people were told that this very template failed.
pub(super) fn has_failed(view: &View, workload: &Workload) -> bool {
    let before = before(view);
    before.section.state == Some(State::Error)
        && before.failure.is_some()
        && before.revision.as_ref() == Some(&workload.revision)
}

/// It is done, as it was.
pub(super) fn still_done(view: &View, plan: &Plan, workload: &Workload) -> DeploySection {
    let mut section = DeploySection {
        services: plan.deployed.clone(),
        inputs: view.surroundings().inputs(),
        ..anew(view, State::Completed)
    };
    serves(&mut section, workload);
    section
}

/// What runs, or has run, is this.
fn serves(section: &mut DeploySection, workload: &Workload) {
    let build = workload.used.build();
    section.build = build.map(|build| build.object.clone());
    section.commit = build.map(|build| commit12(&build.commit).into());
    section.images.clone_from(&workload.images);
}

pub(super) fn running(
    view: &View,
    plan: &Plan,
    workload: &Workload,
    health: &Health,
    known: Option<Failure>,
    log_tail: Vec<String>,
) -> DeploySection {
    let mut section = anew(view, health.state);
    section.kind = Some(workload.object.resource.kind.clone());
    section.name = Some(workload.object.name().into());
    section.services.clone_from(&plan.deployed);
    section.replicas = Some(health.wanted);
    section.ready_replicas = Some(health.ready);
    section.revision = Some(workload.revision.clone());
    section.inputs = view.surroundings().inputs();
    section.probe = health
        .probe
        .as_ref()
        .map(|words| words.chars().take(MESSAGE).collect());
    section.pulling = health
        .pulling
        .clone()
        .filter(|_image| health.state == State::InProgress);

    section.failure = known.or_else(|| {
        let trouble = health.trouble.as_ref()?;
        let since = before(view)
            .failure
            .filter(|before| before.code == trouble.code);
        Some(Failure {
            since: since.map_or(Some(Time(Timestamp::now())), |before| before.since),
            ..failure(trouble, log_tail)
        })
    });

    if matches!(health.state, State::Healthy | State::Completed) {
        serves(&mut section, workload);
    }

    section
}

/// What is recorded of the same end of a container already: a log is read once for each.
pub(super) fn same_failure(
    view: &View,
    workload: &Workload,
    trouble: Option<&Trouble>,
) -> Option<Failure> {
    let (before, trouble) = (before(view), trouble?);
    let failure = before
        .failure
        .filter(|_| before.revision.as_ref() == Some(&workload.revision))?;
    let same = failure.code == trouble.code
        && failure.container == trouble.container
        && failure.exit_code == trouble.exit_code
        && failure.message.as_ref() == Some(&trouble.message);
    same.then_some(failure)
}

fn failure(trouble: &Trouble, log_tail: Vec<String>) -> Failure {
    Failure {
        container: trouble.container.clone(),
        exit_code: trouble.exit_code,
        log_tail,
        ..Failure::new(trouble.code, &trouble.message)
    }
}

/// An image that cannot be pulled with a login of ours is tried again when the login's Secret
/// changes.
pub(super) fn retry_pull(
    view: &View,
    section: &mut DeploySection,
    secrets: &SecretReader,
    waits: &Waits,
) {
    let code = Code::ImagePullFailed;
    let failure = section.failure.as_ref();
    let Some(failure) = failure.filter(|failure| failure.code == code) else {
        return;
    };

    let read = secrets.versions();
    if !read.is_empty() {
        let failing = Failing {
            code,
            message: failure.message.clone().unwrap_or_default(),
            retry: Retry::Stalled,
            may_be_a_secrets: true,
            state: State::Error,
        };

        let now = Timestamp::now();
        let retry = retry::<DeploySection>(&view.component, &failing, read, waits, now);
        section.section.retry = Some(retry);
    }
}

/// It could not be made.
pub(super) fn broken(
    view: &View,
    error: &ObjectError,
    secrets: &SecretReader,
    waits: &Waits,
) -> DeploySection {
    DeploySection {
        failure: Some(Failing::of(error).status()),
        ..cleared(failed(&view.component, error, secrets.versions(), waits))
    }
}

/// What runs is not all that its Component asks for.
pub(super) fn blame(view: &View, section: &mut DeploySection, refusal: &Refusal, waits: &Waits) {
    if section.failure.is_some() {
        return;
    }

    let failing = Failing::of(&ObjectError::from(refusal.clone()));
    let before = before(view)
        .failure
        .filter(|before| before.code == failing.code);
    section.failure = Some(Failure {
        since: before.map_or(Some(Time(Timestamp::now())), |before| before.since),
        ..failing.status()
    });
    section.section.state = Some(failing.state);

    let (read, now) = (Versions::default(), Timestamp::now());
    let retry = retry::<DeploySection>(&view.component, &failing, read, waits, now);
    section.section.retry = Some(retry);
}

/// How one section differs from another for those who read it. `depended_on_early` is whether
/// a sibling waits for what comes before the pods.
pub(super) fn difference(
    before: &DeploySection,
    after: &DeploySection,
    depended_on_early: bool,
) -> Option<Difference> {
    if before == after {
        return None;
    }

    if depended_on_early && (before.services != after.services || before.revision != after.revision)
    {
        return Some(Difference::Outcome);
    }

    if without_words(before) == without_words(after) {
        return Some(Difference::Words);
    }

    if after.pulling.is_some() && after.pulling != before.pulling {
        return Some(Difference::Wait);
    }

    Some(if goes_on(after) || is_unschedulable(after) {
        Difference::Progress
    } else {
        Difference::Outcome
    })
}

/// What may be over before anybody reads it.
fn goes_on(section: &DeploySection) -> bool {
    let state = section.section.state;
    matches!(state, Some(State::InProgress | State::Waiting))
}

/// A pod that finds no node at once may find one soon.
fn is_unschedulable(section: &DeploySection) -> bool {
    let failure = section.failure.as_ref();
    failure.is_some_and(|failure| failure.code == Code::Unschedulable)
}

/// A section without what changes all the time.
fn without_words(section: &DeploySection) -> DeploySection {
    let mut rest = section.clone();
    rest.section.rev = 0;
    rest.ready_replicas = None;
    rest.replicas = None;
    for waiting in &mut rest.waiting_for {
        waiting.now = None;
    }

    if let Some(failure) = &mut rest.failure {
        failure.message = None;
        failure.log_tail.clear();
    }

    if let Some(retry) = &mut rest.section.retry {
        retry.message.clear();
    }

    rest
}

#[cfg(test)]
mod tests;
