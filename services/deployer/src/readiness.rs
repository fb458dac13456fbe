//! Whether what runs is ready, and what is wrong if it is not. Pure: what was read and the time are
//! given.

mod image;
pub(crate) mod pods;
pub(crate) mod probes;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::status::State;

use sequencer_api::labels::REVISION;

use self::pods::Ends;

/// How a Component's workload is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Health {
    /// Healthy, Completed, `InProgress` or Error.
    pub(crate) state: State,
    /// How many pods are wanted.
    pub(crate) wanted: i32,
    /// How many are ready, of whatever revision.
    pub(crate) ready: i32,
    /// Whether as many as are wanted serve, by whatever template.
    pub(crate) serves: bool,
    pub(crate) trouble: Option<Trouble>,
    /// The image that a pod waits for.
    pub(crate) pulling: Option<String>,
    /// What a probe says of a container that is not ready yet.
    pub(crate) probe: Option<String>,
    /// When it has to be observed again although nothing changes.
    pub(crate) again: Option<Duration>,
}

impl Health {
    /// Whether something that was well for what its user wrote still is: the pods that serve are
    /// being replaced by others that do the same.
    pub(crate) fn goes_on(&self) -> bool {
        self.serves && self.state == State::InProgress
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: Code,
    pub(crate) container: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) message: String,
    pub(crate) log: Option<LogOf>,
}

/// A log whose last lines say more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOf {
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) previous: bool,
}

/// Returns the health of a Deployment. `pods` are the Component's, of any revision.
pub(crate) fn deployment(
    deployment: &Deployment,
    pods: &[Pod],
    revision: &str,
    now: Timestamp,
) -> Health {
    let status = deployment.status.clone().unwrap_or_default();
    let spec = deployment.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let seen = status.observed_generation >= deployment.metadata.generation;
    let counts = [
        status.replicas,
        status.updated_replicas,
        status.ready_replicas,
        status.available_replicas,
    ];
    let [all, updated, ready, available] = counts.map(Option::unwrap_or_default);
    let pods: Vec<_> = pods.iter().filter(|pod| is_of(pod, revision)).collect();
    let settling = pods.iter().filter_map(|pod| pods::settling(pod, now)).max();
    let rolled_out = seen && [updated, all, ready, available] == [wanted; 4];
    let ready = ready.min(wanted);
    let found = pods
        .iter()
        .find_map(|pod| pods::trouble(pod, Ends::Never, now));
    let found = found.or_else(|| {
        status
            .conditions
            .iter()
            .flatten()
            .find_map(of_condition)
            .filter(|_| seen)
    });
    let trouble = if rolled_out && settling.is_none() {
        None
    } else {
        found
    };

    let state = match &trouble {
        Some(_) => State::Error,
        None if rolled_out => State::Healthy,
        None => State::InProgress,
    };

    Health {
        state,
        wanted,
        ready,
        serves: available >= wanted,
        trouble,
        pulling: pulling(&pods),
        probe: None,
        again: settling,
    }
}

/// Whether a Job failed, if only in its first try.
pub(crate) fn has_failed(job: &Job) -> bool {
    condition(job, "Failed").is_some() || condition(job, "Complete").is_none() && failures(job) > 0
}

fn failures(job: &Job) -> i32 {
    let failed = job.status.as_ref().and_then(|status| status.failed);
    failed.unwrap_or_default()
}

fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions
        .filter(|condition| condition.status == "True")
        .find(|condition| condition.type_ == kind)
}

/// Returns the health of a Job.
pub(crate) fn job(job: &Job, pods: &[Pod], revision: &str, now: Timestamp) -> Health {
    let status = job.status.clone().unwrap_or_default();
    let condition = |kind| condition(job, kind);
    let pods: Vec<_> = pods.iter().filter(|pod| is_of(pod, revision)).collect();
    let trouble = if condition("Complete").is_some() {
        None
    } else if let Some(given_up) = condition("Failed") {
        let found = failed(job, &pods);
        found.or_else(|| Some(plain(Code::CrashLoop, given_up.message.as_deref())))
    } else {
        let stuck = |pod: &&Pod| pods::trouble(pod, Ends::Well, now);
        pods.iter().find_map(stuck).or_else(|| failed(job, &pods))
    };

    let state = match &trouble {
        Some(_) => State::Error,
        None if condition("Complete").is_some() => State::Completed,
        None => State::InProgress,
    };

    let ready = status.succeeded.unwrap_or_default();
    Health {
        state,
        wanted: 1,
        ready,
        serves: false,
        trouble,
        pulling: pulling(&pods),
        probe: None,
        again: None,
    }
}

/// How the newest of a Job's pods failed that did, and which try that was.
fn failed(job: &Job, pods: &[&Pod]) -> Option<Trouble> {
    let newest = pods
        .iter()
        .filter_map(|pod| Some((pods::failed(pod)?, pod.creation_timestamp())))
        .max_by_key(|(_, created)| created.as_ref().map(|created| created.0));
    let (trouble, _) = newest?;

    let (tries, limit) = (failures(job), job.spec.as_ref()?.backoff_limit);
    let tries = match limit {
        _ if tries < 1 => String::new(),
        Some(limit) => format!(", try {tries} of {}", limit.saturating_add(1)),
        None => format!(", try {tries}"),
    };
    Some(Trouble {
        message: trouble.message.clone() + &tries,
        ..trouble
    })
}

fn pulling(pods: &[&Pod]) -> Option<String> {
    pods.iter()
        .find_map(|pod| pods::pulling(pod))
        .map(Into::into)
}

fn is_of(pod: &Pod, revision: &str) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    pod.metadata.deletion_timestamp.is_none()
        && annotations
            .and_then(|annotations| annotations.get(REVISION))
            .map(String::as_str)
            == Some(revision)
}

/// What is wrong by a Deployment's condition, if its pods show nothing.
fn of_condition(condition: &DeploymentCondition) -> Option<Trouble> {
    let message = condition.message.as_deref();
    match (condition.type_.as_str(), condition.status.as_str()) {
        ("ReplicaFailure", "True")
            if message.is_some_and(|message| message.contains("exceeded quota")) =>
        {
            Some(plain(Code::QuotaExceeded, message))
        }
        ("ReplicaFailure", "True") => Some(plain(Code::AdmissionDenied, message)),
        ("Progressing", "False") => Some(plain(Code::ProgressDeadlineExceeded, message)),
        _ => None,
    }
}

fn plain(code: Code, message: Option<&str>) -> Trouble {
    Trouble {
        code,
        container: None,
        exit_code: None,
        message: message.unwrap_or(code.meaning()).to_owned(),
        log: None,
    }
}

#[cfg(test)]
mod tests;
