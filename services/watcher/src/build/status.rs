//! The watcher's part of a Build's status, from what is known of it.

use kube::ResourceExt as _;
use sequencer_api::condition::{ConditionType, Reason, Summary};
use sequencer_api::labels::{self, commit12};
use sequencer_api::status::State;
use sequencer_api::status::build::{BuildPhase, BuildStatus};

use super::view::BuildView;
use crate::conditions::{Conditions, advice, wrong};

/// The status as it has to be.
pub(super) fn status(view: &BuildView) -> BuildStatus {
    let BuildView {
        subject, before, ..
    } = view;
    let (image, publish, ready) = summaries(view);

    let mut conditions = Conditions::new(&before.conditions, subject.generation, subject.now);
    conditions.add(ConditionType::Image, &image);
    conditions.add(ConditionType::Publish, &publish);

    let stalled = match ready.reason {
        Reason::Superseded => {
            "nobody needs it; to come back to it, pin its commit in the Component".into()
        }
        _ => advice(&ready, "bld", view.build.as_ref()),
    };

    BuildStatus {
        observed_generation: subject.generation,
        phase: phase(&ready, &image),
        conditions: conditions.finish(&ready, None, false, &stalled),
        ..before.clone()
    }
}

impl BuildView {
    /// What `Ready` says.
    pub(crate) fn ready(&self) -> Summary {
        let (_, _, ready) = summaries(self);
        ready
    }
}

/// Of the image, of its publication, and of both.
fn summaries(view: &BuildView) -> (Summary, Summary, Summary) {
    let image = match image(view) {
        image if view.held && image.reason == Reason::Waiting => Summary::no(
            Reason::Waiting,
            "waits until fewer Builds of this namespace run",
        ),
        image => image,
    };

    let superseded = view.build.is_superseded().then(|| superseded(view));
    let publish = superseded.clone().unwrap_or_else(|| publish(view, &image));

    let worst = Summary::worst([&image, &publish]).unwrap_or(&publish);
    let ready = if view.build.metadata.deletion_timestamp.is_some() {
        Summary::no(Reason::Terminating, "being deleted")
    } else if let Some(superseded) = superseded {
        superseded
    } else if worst.holds {
        let image = view.before.publish.image.clone();
        Summary::yes(Reason::Completed, image.unwrap_or_default())
    } else {
        worst.clone()
    };

    (image, publish, ready)
}

fn superseded(view: &BuildView) -> Summary {
    let by = view.build.annotations().get(labels::SUPERSEDED_BY);
    let by = by.map_or("", String::as_str);
    Summary::no(Reason::Superseded, format!("{by} took its place"))
}

fn image(view: &BuildView) -> Summary {
    let section = &view.before.image;
    let (generation, now) = (view.subject.generation, view.subject.now);
    if section.section.is(State::Completed, generation) {
        let digest = section.digest.clone();
        return Summary::yes(Reason::Completed, digest.unwrap_or_default());
    }

    if let Err(refusal) = &view.pool {
        return refusal.clone().into();
    }

    if let Some(wrong) = wrong(&section.section, section.failure.as_ref(), generation, now) {
        return wrong;
    }

    let spec = &view.build.spec;
    let (commit, pool) = (
        commit12(spec.commit().unwrap_or_default()),
        &spec.runtime.pool,
    );

    let building = format!("building {commit} in pool {pool}");
    match &section.step {
        Some(step) => Summary::no(Reason::InProgress, format!("{building}: {step}")),
        None if section.section.claim.is_some() => Summary::no(Reason::InProgress, building),
        None => {
            let message = format!("{commit} is waiting for a builder of pool {pool}");
            Summary::no(Reason::Waiting, message)
        }
    }
}

fn publish(view: &BuildView, image: &Summary) -> Summary {
    let section = &view.before.publish;

    if view.build.is_published() {
        let image = section.image.clone();
        return Summary::yes(Reason::Completed, image.unwrap_or_default());
    }

    if !image.holds {
        return Summary::no(Reason::Waiting, "waiting for the image");
    }

    let (generation, now) = (view.subject.generation, view.subject.now);
    wrong(&section.section, None, generation, now).unwrap_or_else(|| {
        let has = |url: &str| {
            let mut tried = section.registries.iter();
            tried.any(|to| to.url == url && to.state == State::Completed)
        };
        let registries = view.build.spec.container_registries.iter();
        let left: Vec<_> = registries
            .map(|registry| registry.url.as_str())
            .filter(|url| !has(url))
            .collect();
        Summary::no(
            Reason::InProgress,
            format!("publishing to {}", left.join(", ")),
        )
    })
}

fn phase(ready: &Summary, image: &Summary) -> BuildPhase {
    match ready.reason {
        Reason::Terminating => BuildPhase::Terminating,
        _ if ready.holds => BuildPhase::Completed,
        Reason::Superseded => BuildPhase::Superseded,
        Reason::Code(_) if !ready.retried => BuildPhase::Error,
        _ if image.holds => BuildPhase::Publishing,
        _ if image.reason == Reason::Waiting => BuildPhase::Queued,
        _ => BuildPhase::Building,
    }
}
