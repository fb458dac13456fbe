//! Why a container that runs is not ready, or was killed: its probes' own words. Only the kubelet's
//! Events have them.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateRunning, ContainerStatus, Event, Pod};
use sequencer_api::code::Code;
use sequencer_api::status::State;

use super::{Health, is_of};

/// The kubelet's word for a probe that does not hold.
pub(crate) const UNHEALTHY: &str = "Unhealthy";

/// A program that started so lately need not be ready.
const STARTS: Duration = Duration::from_secs(3);

/// How often the probes of a pod that is not ready are asked for: they change no pod.
const AGAIN: Duration = Duration::from_secs(5);

/// What kills a container that a probe does not hold for: SIGKILL, or SIGTERM first.
const KILLED: [i32; 2] = [137, 143];

/// The pod whose probes may say what its status does not.
pub(crate) fn doubtful<'a>(pods: &'a [Pod], revision: &str, now: Timestamp) -> Option<&'a Pod> {
    let mut pods = pods.iter().filter(|pod| is_of(pod, revision));
    pods.find(|pod| {
        containers(pod).any(|container| is_unready(container, now) || was_killed(container))
    })
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().flatten())
}

fn running(container: &ContainerStatus) -> Option<&ContainerStateRunning> {
    container.state.as_ref()?.running.as_ref()
}

fn is_unready(container: &ContainerStatus, now: Timestamp) -> bool {
    let started = running(container).and_then(|running| running.started_at.as_ref());
    let ran = started.and_then(|at| Duration::try_from(now.duration_since(at.0)).ok());
    !container.ready && ran.is_some_and(|ran| ran >= STARTS)
}

fn was_killed(container: &ContainerStatus) -> bool {
    let last = container.last_state.as_ref();
    let ended = last.and_then(|last| last.terminated.as_ref());
    ended.is_some_and(|ended| KILLED.contains(&ended.exit_code))
}

/// Returns the health of a workload with what the newest Event of each probe says.
pub(crate) fn told(health: Health, events: &[Event]) -> Health {
    let newest = events
        .iter()
        .max_by_key(|event| event.last_timestamp.as_ref().map(|at| at.0));
    let Some(words) = newest.and_then(words) else {
        return health;
    };

    let Some(trouble) = &health.trouble else {
        let waits = health.state == State::InProgress;
        return Health {
            probe: waits.then_some(words),
            ..health
        };
    };

    let killed = trouble.exit_code.is_some_and(|code| KILLED.contains(&code));
    let mut trouble = trouble.clone();
    if killed || trouble.code == Code::ProgressDeadlineExceeded {
        trouble.message = format!("{}: {words}", trouble.message);
    }
    Health {
        trouble: Some(trouble),
        ..health
    }
}

/// What an Event says of a probe, and of which container.
fn words(event: &Event) -> Option<String> {
    let message = event.message.as_deref()?.trim();
    let path = event
        .involved_object
        .field_path
        .as_deref()
        .unwrap_or_default();
    let container = path
        .split_once('{')
        .and_then(|(_, rest)| rest.strip_suffix('}'));
    let container = container.map_or_else(String::new, |name| format!("container {name}: "));

    // From the program's own view it listens.
    let refused = message.contains("connection refused");
    let hint = if refused {
        "; the program has to listen at this port on 0.0.0.0, not on 127.0.0.1"
    } else {
        ""
    };
    Some(format!("{container}{message}{hint}"))
}

/// When a workload has to be observed again that is not ready, although its pods do not change.
pub(crate) fn again(health: Health, pods: &[Pod], revision: &str) -> Health {
    let pods = pods.iter().filter(|pod| is_of(pod, revision));
    let unready = |container: &ContainerStatus| !container.ready && running(container).is_some();
    let runs = pods.flat_map(containers).any(unready);
    let soon = (runs && health.state == State::InProgress).then_some(AGAIN);
    Health {
        again: [health.again, soon].into_iter().flatten().min(),
        ..health
    }
}

#[cfg(test)]
mod tests;
