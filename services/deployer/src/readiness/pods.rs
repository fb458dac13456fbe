//! What is wrong with a pod.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use sequencer_api::code::Code;

use super::{LogOf, Trouble, image};

/// A container that crashed counts as up once it ran this long: else a crash loop would be healthy
/// every other minute.
const SETTLE: Duration = Duration::from_secs(10);

/// What ran for so long before it ended is in no loop.
const LONGEST: Duration = Duration::from_mins(5);

/// The kubelet's words for a container that nothing is wrong with yet.
const STARTING: [&str; 2] = ["PodInitializing", "ContainerCreating"];

/// The runtime's words for a container whose program cannot be executed; it says why itself.
const NOT_STARTED: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// Whether the containers of a pod may come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Each end is wrong: they have to keep running.
    Never,
    /// Those with exit code 0 are not.
    Well,
}

/// What is wrong with a pod, the first cause first.
pub(super) fn trouble(pod: &Pod, ends: Ends, now: Timestamp) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let main = status.container_statuses.iter().flatten();
    let pull = init.clone().chain(main.clone()).find_map(pull);
    let init = || {
        init.clone()
            .find_map(|container| crash(pod, container, Code::InitContainerFailed, Ends::Well, now))
    };

    let main = || {
        main.clone()
            .find_map(|container| crash(pod, container, Code::CrashLoop, ends, now))
    };

    pull.or_else(init)
        .or_else(main)
        .or_else(|| config(pod))
        .or_else(|| unschedulable(pod))
}

/// The image that a pod waits for. Its volumes and its network are there ("Pod Lifecycle":
/// `PodReadyToStartContainers`), so what the next container waits for is its image.
pub(crate) fn pulling(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let can_start = conditions
        .any(|found| found.type_ == "PodReadyToStartContainers" && found.status == "True");

    let mut init = status.init_container_statuses.iter().flatten();
    let mut main = status.container_statuses.iter().flatten();
    // Containers start in this order. One that initializes holds up those behind it.
    let next = init
        .find(|container| !container.ready)
        .or_else(|| main.find(|container| is_starting(container)))?;
    (can_start && is_starting(next)).then_some(&next.image)
}

/// Whether a container has not run yet, and nothing is wrong with it.
pub(crate) fn is_starting(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    reason.is_some_and(|reason| STARTING.contains(&reason))
}

/// How a pod failed that is over.
pub(super) fn failed(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let ended = |container: &ContainerStatus, code| {
        let terminated = container
            .state
            .as_ref()?
            .terminated
            .as_ref()
            .filter(|ended| ended.exit_code != 0)?;
        Some(of(pod, container, code, terminated, false))
    };

    let init = status.init_container_statuses.iter().flatten();
    let init = init
        .clone()
        .find_map(|container| ended(container, Code::InitContainerFailed));

    init.or_else(|| {
        status
            .container_statuses
            .iter()
            .flatten()
            .find_map(|container| ended(container, Code::CrashLoop))
    })
}

/// How long it takes until the containers that crashed count as up, if they run now.
pub(super) fn settling(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    containers
        .filter(|container| crashed(container, Ends::Never).is_some())
        .filter_map(|container| left(container, now))
        .max()
}

/// What is left of the time that a container has to run for: longer than it ran the last time, since
/// what kills it then may do so again.
fn left(container: &ContainerStatus, now: Timestamp) -> Option<Duration> {
    let last = container.last_state.as_ref();
    let ended = last.and_then(|last| last.terminated.as_ref());
    let ran_before = ended.and_then(|ended| {
        let (from, to) = (ended.started_at.as_ref()?, ended.finished_at.as_ref()?);
        Duration::try_from(to.0.duration_since(from.0)).ok()
    });
    let loops = ran_before.filter(|ran| *ran < LONGEST);
    let settle = loops.map_or(SETTLE, |ran| SETTLE.max(ran * 2));

    let started = container
        .state
        .as_ref()?
        .running
        .as_ref()?
        .started_at
        .as_ref()?
        .0;
    let ran = Duration::try_from(now.duration_since(started)).unwrap_or_default();
    settle.checked_sub(ran).filter(|left| !left.is_zero())
}

fn pull(container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref();
    reason.filter(|reason| image::is_pull(reason))?;

    let words = waiting.message.as_deref().unwrap_or_default();
    let (code, message) = image::failure(&container.image, words);
    Some(Trouble {
        code,
        container: Some(container.name.clone()),
        exit_code: None,
        message: format!("container {}: {message}", container.name),
        log: None,
    })
}

/// How a container ended last, if it should not have ended so.
fn crashed(container: &ContainerStatus, ends: Ends) -> Option<&ContainerStateTerminated> {
    let last = container.last_state.as_ref()?.terminated.as_ref()?;
    (container.restart_count > 0 && is_wrong(last, ends)).then_some(last)
}

fn is_wrong(ended: &ContainerStateTerminated, ends: Ends) -> bool {
    ends == Ends::Never || ended.exit_code != 0
}

/// A container that ended badly and is not up again. Once is not a loop yet: a database may only
/// have been slow.
fn crash(
    pod: &Pod,
    container: &ContainerStatus,
    code: Code,
    ends: Ends,
    now: Timestamp,
) -> Option<Trouble> {
    let state = container.state.clone().unwrap_or_default();
    if state
        .waiting
        .is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    {
        let ended = container.last_state.as_ref()?.terminated.as_ref()?;
        return Some(of(pod, container, code, ended, true));
    }

    let last = crashed(container, ends)?;

    if let Some(ended) = state
        .terminated
        .as_ref()
        .filter(|ended| is_wrong(ended, ends))
    {
        return Some(of(pod, container, code, ended, false));
    }

    let up = container.ready && left(container, now).is_none();
    (container.restart_count > 1 && !up && code == Code::CrashLoop)
        .then(|| of(pod, container, code, last, true))
}

fn of(
    pod: &Pod,
    container: &ContainerStatus,
    code: Code,
    ended: &ContainerStateTerminated,
    previous: bool,
) -> Trouble {
    let name = container.name.clone();
    let restarted = match container.restart_count {
        0 => String::new(),
        1 => ", restarted once".into(),
        times => format!(", restarted {times} times"),
    };
    Trouble {
        code,
        exit_code: Some(ended.exit_code),
        message: format!("container {name} {}{restarted}", end(ended)),
        log: pod.metadata.name.clone().map(|pod| LogOf {
            pod,
            container: name.clone(),
            previous,
        }),
        container: Some(name),
    }
}

/// How a container ended, in the words of whoever knows.
fn end(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().unwrap_or("Error");
    let words = ended
        .message
        .as_deref()
        .filter(|_| NOT_STARTED.contains(&reason));

    match (words, ended.exit_code) {
        (Some(words), _) => {
            let words = words.rsplit_once("exec: ").map_or(words, |(_, last)| last);
            format!("cannot be started: {}", words.trim())
        }
        (None, 0) => "ended with exit code 0: a component has to keep running (restartPolicy \
            OnFailure or Never makes it a Job)"
            .into(),
        (None, code) => format!("ended with exit code {code} ({reason})"),
    }
}

/// A container that cannot even be made: a Secret or ConfigMap that it names is not there.
fn config(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let all = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    all.into_iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        if !matches!(
            waiting.reason.as_deref()?,
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError"
        ) {
            return None;
        }
        let words = waiting.message.as_deref().unwrap_or_default();
        Some(Trouble {
            code: Code::CrashLoop,
            container: Some(container.name.clone()),
            exit_code: None,
            message: format!("container {} cannot be started: {words}", container.name),
            log: None,
        })
    })
}

fn unschedulable(pod: &Pod) -> Option<Trouble> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let found = conditions.into_iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(super::plain(Code::Unschedulable, found.message.as_deref()))
}
