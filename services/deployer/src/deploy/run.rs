//! Starts what was planned, or rolls out what changed of it.
//!
//! Pods are made anew for what their user wrote. What Sequencer and the chart's settings add
//! changes for all previews at once: Jobs take no notice of it, and Deployments are rolled out a few
//! at a time. A commit that made the same image changes no pod: until something else rolls them out,
//! its label on pods is that of the commit which did last.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use rand::Rng as _;
use sequencer_api::labels::{RETRY, REVISION};
use sequencer_api::status::State;
use serde::Deserialize as _;
use serde_json::Value;

use super::section;
use crate::apply::{Apply, revision, template_revision};
use crate::error::Error;
use crate::plan::{Object, View, Workload, is_deployment};
use crate::readiness;
use crate::service::Service;

/// Where a Deployment has its pod template.
const TEMPLATE: [&str; 2] = ["spec", "template"];

/// The wait of a Deployment that is not rolled out yet. Between the two, so that those which wait
/// together do not come back together.
const TURN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(90));

/// What becomes of a Deployment's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// They are made by the planned template.
    RollOut,
    /// They stay: nothing of them changes but labels that name a Build.
    Keep,
    /// They stay for now: what is added to them has changed, and others are rolled out for that.
    HoldBack,
}

impl Step {
    /// By the Deployment that is there.
    fn of(workload: &Workload, there: &Value, is_its_turn: impl FnOnce() -> bool) -> Self {
        let written = revision(there) == Some(&workload.revision);
        let added = template_revision(there) == Some(&workload.template);

        match (written, added) {
            (false, _) => Self::RollOut,
            (true, true) => Self::Keep,
            (true, false) if is_its_turn() => Self::RollOut,
            (true, false) => Self::HoldBack,
        }
    }
}

/// What was started or found, and when to try again if something of it is held back.
pub(super) type Ran = (DynamicObject, Option<Duration>);

impl Service {
    /// Starts it, or rolls out what changed of it. `is_waiting` is whether a new revision would wait.
    pub(super) async fn run(
        &self,
        view: &View,
        apply: &Apply,
        workload: &Workload,
        found: Option<DynamicObject>,
        is_waiting: bool,
    ) -> Result<Ran, Error> {
        if !is_deployment(&workload.object) {
            return Ok((run_job(view, apply, workload, found).await?, None));
        }

        let planned = &workload.object;
        let changed = found.as_ref().filter(|found| !is_planned(planned, found));
        let Some((changed, template)) =
            changed.and_then(|found| Some((found, apply.applied(planned, found, &TEMPLATE)?)))
        else {
            return Ok((apply.write(planned, found).await?, None));
        };

        let there = serde_json::to_value(changed)?;
        let has_room = || self.throttle().begin(view.uid(), Timestamp::now());
        let step = Step::of(workload, &there, || is_its_turn(view, is_waiting, has_room));
        let is_damaged = step == Step::Keep && apply.is_taken_from(planned, changed, &TEMPLATE);
        if step == Step::RollOut || is_damaged {
            return Ok((apply.write(planned, found).await?, None));
        }

        // The rest of the Deployment is as planned.
        let kept = planned.with(&format!("/{}", TEMPLATE.join("/")), template);
        let there = apply.write(&kept, found).await?;
        Ok((there, (step == Step::HoldBack).then(turn)))
    }
}

/// Whether a Deployment may be rolled out now for what is added to its pods: not before a new
/// revision might, and if there is room for it. One that failed has nothing to lose by it, and may
/// be healed.
fn is_its_turn(view: &View, is_waiting: bool, has_room: impl FnOnce() -> bool) -> bool {
    if view.component.spec.paused || is_waiting {
        return false;
    }

    let failed = section::before(view).section.state == Some(State::Error);
    failed || has_room()
}

/// Whether an object was last written by this very plan.
fn is_planned(object: &Object, found: &DynamicObject) -> bool {
    found.annotations().get(REVISION).map(String::as_str) == object.revision()
}

fn turn() -> Duration {
    let (shortest, longest) = TURN;
    rand::rng().random_range(shortest..longest)
}

/// Runs a Job. One that is there cannot be changed, and has done its work, or is at it: it is run
/// anew for what its user wrote or asks, and for nothing else.
async fn run_job(
    view: &View,
    apply: &Apply,
    workload: &Workload,
    found: Option<DynamicObject>,
) -> Result<DynamicObject, Error> {
    let object = &workload.object;

    if let Some(found) = found {
        if !is_to_run_again(view, workload, serde_json::to_value(&found)?)? {
            return Ok(found);
        }
        apply.delete(&object.resource, &found).await?;
    }

    apply.write(&run_for(view, object), None).await
}

/// Whether a Job that is there is run anew.
fn is_to_run_again(view: &View, workload: &Workload, there: Value) -> Result<bool, Error> {
    let changed = revision(&there) != Some(&workload.revision);
    Ok(changed || is_to_be_tried_again(view, workload, &Job::deserialize(there)?))
}

/// Whether a Job failed that a person has asked to be tried again. Both the section and the Job
/// know what was asked when it was run: neither is written before the other in every case. And a
/// pod that failed may be told before its Job knows of it.
fn is_to_be_tried_again(view: &View, workload: &Workload, job: &Job) -> bool {
    let failed = readiness::has_failed(job) || section::has_failed(view, workload);
    let asked = view.asked();
    let ran_for = job.annotations().get(RETRY);
    let tried = asked == section::before(view).section.asked || asked.as_ref() == ran_for;
    asked.is_some() && !tried && failed
}

/// The Job with what is asked when it is run.
fn run_for(view: &View, job: &Object) -> Object {
    let mut job = job.clone();
    if let Some(asked) = view.asked() {
        job.annotate(RETRY, asked.into());
    }
    job
}

#[cfg(test)]
mod tests;
