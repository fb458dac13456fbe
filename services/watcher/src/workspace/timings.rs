//! How long each stage took, the last time it ran. Derived from moments that are recorded anyway
//! (sections, Builds, the conditions' last transitions) and from what was derived before; never
//! from the clock, so nothing ticks.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use sequencer_api::condition::{ConditionType, Status, find, is};
use sequencer_api::status::State;
use sequencer_api::status::build::BuildStatus;
use sequencer_api::status::workspace::{Stage, Timing};
use sequencer_api::{Build, Component, Workspace};

use crate::component::{desired, resolved};
use crate::owned::Owned;

/// When something began, and when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    /// None: it did not begin.
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// What is known, and what was derived before.
struct Facts<'a> {
    before: &'a [Timing],
    conditions: &'a [Condition],
    /// When the Workspace was made, as long as it is what was made then.
    made: Option<Timestamp>,
}

/// The stages that ran, in their order.
pub(super) fn timings(
    workspace: &Workspace,
    owned: &Owned,
    before: &[Timing],
    conditions: &[Condition],
) -> Vec<Timing> {
    let first = workspace.metadata.generation == Some(1);
    let made = workspace
        .creation_timestamp()
        .map(|made| made.0)
        .filter(|_| first);
    let facts = Facts {
        before,
        conditions,
        made,
    };

    let builds: Vec<_> = wanted(owned).collect();
    let publish = all(builds.iter().map(|build| publish(build)));
    let deploys = facts.deploys(owned, builds.len(), publish.ended);
    let condition = |stage, kind, begins| (stage, facts.condition(stage, kind, begins));
    let unmet = |kind| facts.since(kind, Status::False);

    let spans = [
        (Stage::Source, facts.source(owned)),
        (Stage::Queue, all(builds.iter().map(|build| queue(build)))),
        (
            Stage::Build,
            all(builds.iter().map(|build| build_of(build))),
        ),
        (Stage::Publish, publish),
        condition(Stage::Deploy, ConditionType::Components, deploys),
        condition(
            Stage::Tunnel,
            ConditionType::Tunnel,
            unmet(ConditionType::Tunnel),
        ),
        condition(
            Stage::Ingress,
            ConditionType::Ingress,
            unmet(ConditionType::Ingress),
        ),
        condition(Stage::Dns, ConditionType::Dns, facts.exposed()),
        condition(
            Stage::Route,
            ConditionType::Route,
            facts.since(ConditionType::Dns, Status::True),
        ),
    ];

    spans
        .into_iter()
        .filter_map(|(stage, span)| timing(stage, span))
        .collect()
}

/// `build 64 s, publish 3 s, deploy 9 s`: what took its time at the last roll-out, if it is known.
#[must_use]
pub fn took(timings: &[Timing]) -> String {
    let stages = [
        (Stage::Build, "build"),
        (Stage::Publish, "publish"),
        (Stage::Deploy, "deploy"),
    ];
    let shown = stages.into_iter().filter_map(|(stage, word)| {
        let timing = timings.iter().find(|timing| timing.stage == stage)?;
        let took = timing.completed_at.as_ref()?.0.as_second() - timing.started_at.0.as_second();
        Some(format!("{word} {took} s"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

impl Facts<'_> {
    fn since(&self, kind: ConditionType, status: Status) -> Option<Timestamp> {
        let found = find(self.conditions, kind).filter(|found| is(found, status))?;
        Some(found.last_transition_time.0)
    }

    /// When the roll-out began: until the images are there, nothing that needs one is rolled out.
    /// `builds` are known, and all of them published then.
    fn deploys(
        &self,
        owned: &Owned,
        builds: usize,
        published: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let is_built = |component: &&Arc<Component>| component.spec.template.build.is_some();
        let needed = owned.components.iter().filter(is_built).count();
        if needed > 0 && (builds != needed || published.is_none()) {
            return None;
        }

        let changed = self.since(ConditionType::Components, Status::False);
        published.max(changed.or(self.made))
    }

    /// When the components were ready behind a tunnel or an Ingress.
    fn exposed(&self) -> Option<Timestamp> {
        let components = self.since(ConditionType::Components, Status::True)?;
        let exposure = self
            .since(ConditionType::Tunnel, Status::True)
            .or_else(|| self.since(ConditionType::Ingress, Status::True))?;
        Some(components.max(exposure))
    }

    fn remembered(&self, stage: Stage) -> Span {
        let found = self.before.iter().find(|timing| timing.stage == stage);
        found.map_or_else(Span::default, |found| Span {
            began: Some(found.started_at.0),
            ended: found.completed_at.as_ref().map(|at| at.0),
        })
    }

    /// A stage that is over when its condition holds, and begins then.
    fn condition(&self, stage: Stage, kind: ConditionType, begins: Option<Timestamp>) -> Span {
        match find(self.conditions, kind) {
            None => Span::default(),
            Some(found) if is(found, Status::True) => {
                self.ended(stage, Some(found.last_transition_time.0), begins)
            }
            Some(_) => self.under_way(stage, begins),
        }
    }

    /// It is over: what was remembered of its beginning stands, unless that was of another time.
    fn ended(&self, stage: Stage, ended: Option<Timestamp>, begins: Option<Timestamp>) -> Span {
        let known = self.remembered(stage);
        let same = |at: Timestamp| ended.is_some_and(|ended| at.as_second() == ended.as_second());
        let known = known.began.filter(|_| known.ended.is_none_or(same));
        Span {
            began: known.or_else(|| begins.filter(|begins| Some(*begins) <= ended)),
            ended,
        }
    }

    fn under_way(&self, stage: Stage, begins: Option<Timestamp>) -> Span {
        let known = self.remembered(stage);
        Span {
            began: begins.map(|begins| {
                known
                    .began
                    .filter(|_| known.ended.is_none())
                    .unwrap_or(begins)
            }),
            ended: None,
        }
    }

    /// From the Workspace to the commits; of a later commit only the moment is known in which it
    /// was seen.
    fn source(&self, owned: &Owned) -> Span {
        let builds: Vec<_> = owned
            .components
            .iter()
            .filter(|component| component.spec.template.build.is_some())
            .collect();
        if builds.is_empty() {
            return Span::default();
        }

        let seen: Option<Vec<_>> = builds
            .into_iter()
            .map(|component| changed(component))
            .collect();
        let Some(seen) = seen.map(|seen| seen.into_iter().max()) else {
            return self.under_way(Stage::Source, self.made);
        };

        let span = self.ended(
            Stage::Source,
            seen,
            self.made
                .filter(|_| self.remembered(Stage::Source).began.is_none()),
        );

        Span {
            began: span.began.or(seen),
            ..span
        }
    }
}

/// When the commits of a component, as its spec has it, were seen.
fn changed(component: &Component) -> Option<Timestamp> {
    let source = component.status.as_ref().map(|status| &status.source)?;
    let build = component.spec.template.build.as_ref()?;
    source
        .changed_at
        .as_ref()
        .filter(|_| resolved(build, source))
        .map(|at| at.0)
}

/// The Builds of the newest commits.
fn wanted(owned: &Owned) -> impl Iterator<Item = &Build> {
    let desired = owned
        .components
        .iter()
        .filter_map(|component| desired(component, owned));
    desired.filter_map(|wanted| {
        let found = owned
            .builds
            .iter()
            .find(|build| build.name_any() == wanted.name_any());
        found.map(AsRef::as_ref)
    })
}

fn recorded(build: &Build) -> BuildStatus {
    build.status.clone().unwrap_or_default()
}

fn queue(build: &Build) -> Span {
    let began = recorded(build).image.started_at.map(|at| at.0);
    // One that was built before, and is wanted again, did not wait.
    Span {
        began: build.creation_timestamp().map(|created| created.0),
        ended: began,
    }
}

fn build_of(build: &Build) -> Span {
    let image = recorded(build).image;
    let ended = image
        .completed_at
        .filter(|_| image.section.state == Some(State::Completed))
        .map(|at| at.0);

    Span {
        began: image.started_at.map(|at| at.0),
        ended,
    }
}

fn publish(build: &Build) -> Span {
    let publish = recorded(build).publish;
    let last = publish
        .registries
        .iter()
        .map(|registry| registry.completed_at.as_ref().map(|at| at.0))
        .max()
        .flatten();

    Span {
        began: build_of(build).ended,
        ended: last.filter(|_| publish.section.state == Some(State::Completed)),
    }
}

/// From the first that began until the last has ended.
fn all(spans: impl Iterator<Item = Span> + Clone) -> Span {
    let began = spans.clone().filter_map(|span| span.began).min();
    let ended: Option<Vec<_>> = spans.map(|span| span.ended).collect();
    Span {
        began,
        ended: ended.and_then(|ended| ended.into_iter().max()),
    }
}

/// Clocks of several machines: nothing ends before it began.
fn timing(stage: Stage, span: Span) -> Option<Timing> {
    let began = span.began?;
    let completed_at = span.ended.map(|ended| Time(ended.max(began)));
    Some(Timing {
        stage,
        started_at: Time(began),
        completed_at,
    })
}

#[cfg(test)]
mod tests;
