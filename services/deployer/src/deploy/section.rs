//! The section as it is written.

use sequencer_api::code::Code;
use sequencer_api::labels::commit12;
use sequencer_api::status::component::{DeploySection, WaitingFor};
use sequencer_api::status::{self, Failure, State};
use sequencer_runtime::retry::{Retry, Waits};
use sequencer_runtime::status_writer::Difference;

use crate::error::Error;
use crate::failure::Failed;
use crate::plan::{Plan, View, Workload, is_deployment};
use crate::pull::Versions;
use crate::readiness::{Health, Trouble};

/// What stands in the status that was read.
pub(super) fn before(view: &View) -> DeploySection {
    view.component
        .status
        .as_ref()
        .map(|status| status.deploy.clone())
        .unwrap_or_default()
}

/// What every section of this generation begins with. What serves stays until something else does.
fn begin(view: &View, state: State) -> DeploySection {
    let mut section = before(view);
    section.section.state = Some(state);
    section.section.observed_generation = view.component.metadata.generation;
    section.section.retry = None;
    section.waiting_for = Vec::new();
    section.pulling = None;
    section.failure = None;
    section
}

/// It is held back.
pub(super) fn waiting(view: &View, mut waiting_for: Vec<WaitingFor>) -> DeploySection {
    waiting_for.truncate(16);
    DeploySection {
        waiting_for,
        revision: None,
        ..begin(view, State::Waiting)
    }
}

/// Whether a Job of this very template has run: one that is gone since is not run again.
pub(super) fn has_run(view: &View, workload: &Workload) -> bool {
    let before = before(view);
    !is_deployment(&workload.object)
        && before.section.state == Some(State::Completed)
        && before.revision.as_ref() == Some(&workload.revision)
}

/// It is done, as it was.
pub(super) fn still_done(view: &View, plan: &Plan) -> DeploySection {
    DeploySection {
        services: plan.services.clone(),
        ..begin(view, State::Completed)
    }
}

pub(super) fn running(
    view: &View,
    plan: &Plan,
    workload: &Workload,
    health: &Health,
    known: Option<Failure>,
    log_tail: Vec<String>,
) -> DeploySection {
    let mut section = begin(view, health.state);
    section.kind = Some(workload.object.resource.kind.clone());
    section.name = Some(workload.object.name().into());
    section.services.clone_from(&plan.services);
    section.replicas = Some(health.wanted);
    section.ready_replicas = Some(health.ready);
    section.revision = Some(workload.revision.clone());
    section.pulling = health
        .pulling
        .clone()
        .filter(|_image| health.state == State::InProgress);

    section.failure = known.or_else(|| {
        health
            .trouble
            .as_ref()
            .map(|trouble| failure(trouble, log_tail))
    });

    if matches!(health.state, State::Healthy | State::Completed) {
        section.build = workload.used.build().map(|build| build.object.clone());
        section.commit = workload
            .used
            .build()
            .map(|build| commit12(&build.commit).into());
        section.images.clone_from(&workload.images);
    }

    section
}

/// What is recorded of the same failure already: its words and lines change with every try, and
/// tell nothing new.
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
        && failure.exit_code == trouble.exit_code;
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

/// An image that cannot be pulled with a login of ours is looked at again when the login's Secret
/// changes.
pub(super) fn retry_pull(
    view: &View,
    section: &mut DeploySection,
    logins: Versions,
    waits: &Waits,
) {
    let code = Code::ImagePullFailed;
    let Some(failure) = section
        .failure
        .as_ref()
        .filter(|failure| failure.code == code)
    else {
        return;
    };

    if !logins.is_empty() {
        let message = failure.message.clone().unwrap_or_default();
        let failure = Failed {
            code,
            message,
            retry: Retry::Stalled,
            secrets: logins,
        };

        section.section.retry = Some(retry(view, failure, waits));
    }
}

/// It could not be made.
///
/// # Errors
/// The error is not the object's.
pub(super) fn failed(view: &View, error: Error, waits: &Waits) -> Result<DeploySection, Error> {
    let Some(code) = error.code() else {
        return Err(error);
    };

    let mut section = begin(view, State::Error);
    let message = error.to_string();
    section.failure = Some(Failure::new(code, &message));

    let failure = Failed {
        code,
        message,
        retry: error.retry(),
        secrets: error.secrets(),
    };

    section.section.retry = Some(retry(view, failure, waits));
    Ok(section)
}

fn retry(view: &View, failure: Failed, waits: &Waits) -> status::Retry {
    failure.retry(&before(view).section, &view.component, waits)
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
