//! How long each stage took, the last time it ran. Derived from moments that are recorded anyway (sections, Builds, the
//! conditions' last transitions) and from what was derived before; never from the clock, so nothing ticks.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use sequencer_api::status::State;
use sequencer_api::status::build::BuildStatus;
use sequencer_api::status::workspace::{Stage, Timing};
use sequencer_api::{Build, Component, Workspace};

use crate::component::{desired, resolved};
use crate::conditions::find;
use crate::family::Family;

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
    family: &Family,
    before: &[Timing],
    conditions: &[Condition],
) -> Vec<Timing> {
    let first = workspace.metadata.generation == Some(1);
    let made = workspace.creation_timestamp().map(|made| made.0).filter(|_| first);
    let facts = Facts { before, conditions, made };
    let builds: Vec<_> = wanted(family).collect();
    let queue = all(builds.iter().map(|build| queue(build)));
    let publish = all(builds.iter().map(|build| publish(build)));
    let components = facts.since("Components", "True");
    let way = facts.since("Tunnel", "True").or_else(|| facts.since("Ingress", "True"));
    let published = components.zip(way).map(|(components, way)| components.max(way));
    let deploys = publish.ended.max(facts.since("Components", "False").or(facts.made));
    // Until the images are there, nothing that needs one is rolled out.
    let awaited = family.components.iter().filter(|component| component.spec.template.build.is_some()).count();
    let deploys = deploys.filter(|_| awaited == 0 || (builds.len() == awaited && publish.ended.is_some()));
    let spans = [
        (Stage::Source, facts.source(family)),
        (Stage::Queue, queue),
        (Stage::Build, all(builds.iter().map(|build| build_of(build)))),
        (Stage::Publish, publish),
        (Stage::Deploy, facts.condition(Stage::Deploy, "Components", deploys)),
        (Stage::Tunnel, facts.condition(Stage::Tunnel, "Tunnel", facts.since("Tunnel", "False"))),
        (Stage::Ingress, facts.condition(Stage::Ingress, "Ingress", facts.since("Ingress", "False"))),
        (Stage::Dns, facts.condition(Stage::Dns, "DNS", published)),
        (Stage::Route, facts.condition(Stage::Route, "Route", facts.since("DNS", "True"))),
    ];
    spans.into_iter().filter_map(|(stage, span)| timing(stage, span)).collect()
}

/// `build 64 s, deploy 9 s, publish 3 s`: what took its time at the last roll-out, if it is known.
#[must_use]
pub fn took(timings: &[Timing]) -> String {
    let stages = [(Stage::Build, "build"), (Stage::Deploy, "deploy"), (Stage::Publish, "publish")];
    let shown = stages.into_iter().filter_map(|(stage, word)| {
        let timing = timings.iter().find(|timing| timing.stage == stage)?;
        let took = timing.completed_at.as_ref()?.0.as_second() - timing.started_at.0.as_second();
        Some(format!("{word} {took} s"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

impl Facts<'_> {
    fn since(&self, kind: &str, status: &str) -> Option<Timestamp> {
        let found = find(self.conditions, kind).filter(|found| found.status == status)?;
        Some(found.last_transition_time.0)
    }

    fn remembered(&self, stage: Stage) -> Span {
        let found = self.before.iter().find(|timing| timing.stage == stage);
        found.map_or_else(Span::default, |found| Span {
            began: Some(found.started_at.0),
            ended: found.completed_at.as_ref().map(|at| at.0),
        })
    }

    /// A stage that is over when its condition holds, and begins then.
    fn condition(&self, stage: Stage, kind: &str, begins: Option<Timestamp>) -> Span {
        match find(self.conditions, kind) {
            None => Span::default(),
            Some(found) if found.status == "True" => self.ended(stage, Some(found.last_transition_time.0), begins),
            Some(_) => self.under_way(stage, begins),
        }
    }

    /// It is over: what was remembered of its beginning stands, unless that was of another time.
    fn ended(&self, stage: Stage, ended: Option<Timestamp>, begins: Option<Timestamp>) -> Span {
        let known = self.remembered(stage);
        let same = |at: Timestamp| ended.is_some_and(|ended| at.as_second() == ended.as_second());
        let known = known.began.filter(|_| known.ended.is_none_or(same));
        Span { began: known.or_else(|| begins.filter(|begins| Some(*begins) <= ended)), ended }
    }

    fn under_way(&self, stage: Stage, begins: Option<Timestamp>) -> Span {
        let known = self.remembered(stage);
        Span {
            began: begins.map(|begins| known.began.filter(|_| known.ended.is_none()).unwrap_or(begins)),
            ended: None,
        }
    }

    /// From the Workspace to the commits; of a later commit only the moment is known in which it was seen.
    fn source(&self, family: &Family) -> Span {
        let builds: Vec<_> =
            family.components.iter().filter(|component| component.spec.template.build.is_some()).collect();
        if builds.is_empty() {
            return Span::default();
        }
        let seen: Option<Vec<_>> = builds.into_iter().map(|component| changed(component)).collect();
        let Some(seen) = seen.map(|seen| seen.into_iter().max()) else {
            return self.under_way(Stage::Source, self.made);
        };
        let span =
            self.ended(Stage::Source, seen, self.made.filter(|_| self.remembered(Stage::Source).began.is_none()));
        Span { began: span.began.or(seen), ..span }
    }
}

/// When the commits of a component, as its spec has it, were seen.
fn changed(component: &Component) -> Option<Timestamp> {
    let source = component.status.as_ref().map(|status| &status.source)?;
    let build = component.spec.template.build.as_ref()?;
    source.changed_at.as_ref().filter(|_| resolved(build, source)).map(|at| at.0)
}

/// The Builds of the newest commits.
fn wanted(family: &Family) -> impl Iterator<Item = &Build> {
    let desired = family.components.iter().filter_map(|component| desired(component));
    desired.filter_map(|wanted| {
        let found = family.builds.iter().find(|build| build.name_any() == wanted.name_any());
        found.map(AsRef::as_ref)
    })
}

fn recorded(build: &Build) -> BuildStatus {
    build.status.clone().unwrap_or_default()
}

fn queue(build: &Build) -> Span {
    let began = recorded(build).image.started_at.map(|at| at.0);
    // One that was built before, and is wanted again, did not wait.
    Span { began: build.creation_timestamp().map(|created| created.0), ended: began }
}

fn build_of(build: &Build) -> Span {
    let image = recorded(build).image;
    let ended = image.completed_at.filter(|_| image.section.state == Some(State::Completed)).map(|at| at.0);
    Span { began: image.started_at.map(|at| at.0), ended }
}

fn publish(build: &Build) -> Span {
    let publish = recorded(build).publish;
    let last = publish.registries.iter().map(|registry| registry.completed_at.as_ref().map(|at| at.0)).max().flatten();
    Span { began: build_of(build).ended, ended: last.filter(|_| publish.section.state == Some(State::Completed)) }
}

/// From the first that began until the last has ended.
fn all(spans: impl Iterator<Item = Span> + Clone) -> Span {
    let began = spans.clone().filter_map(|span| span.began).min();
    let ended: Option<Vec<_>> = spans.map(|span| span.ended).collect();
    Span { began, ended: ended.and_then(|ended| ended.into_iter().max()) }
}

/// Clocks of several machines: nothing ends before it began.
fn timing(stage: Stage, span: Span) -> Option<Timing> {
    let began = span.began?;
    let completed_at = span.ended.map(|ended| Time(ended.max(began)));
    Some(Timing { stage, started_at: Time(began), completed_at })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UID: &str = "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10";

    fn at(second: i64) -> String {
        Timestamp::from_second(1_000_000 + second).unwrap().to_string()
    }

    fn workspace() -> Workspace {
        let component = json!({"name": "web", "template": {"containers": []}});
        let value = json!({
            "metadata": {"name": "w", "namespace": "n", "uid": UID, "generation": 1, "creationTimestamp": at(0)},
            "spec": {"components": [component]},
        });
        serde_json::from_value(value).unwrap()
    }

    /// A component whose branch was seen then, and its Build with these sections.
    fn family(seen: Option<i64>, commit: &str, build: Option<Value>) -> Family {
        let git = json!({"git": {"url": "https://g/r", "ref": "b"}});
        let spec = json!({
            "name": "app", "containerRegistries": [{"url": "r.test/a", "tags": ["t"]}], "importContent": [{"path": ".", "contentFrom": git}],
        });
        let imports: Vec<_> =
            seen.iter().map(|_| json!({"path": ".", "url": "https://g/r", "ref": "b", "commit": commit})).collect();
        let source = json!({"changedAt": seen.map(at), "imports": imports});
        let component = json!({
            "metadata": {"name": "w-web", "uid": "c", "generation": 1},
            "spec": {"name": "web", "build": spec, "template": {"containers": []}}, "status": {"source": source},
        });
        let component: Component = serde_json::from_value(component).unwrap();
        let build = build.map(|status| {
            let mut build = desired(&component).unwrap();
            build.metadata.creation_timestamp = serde_json::from_value(at(seen.unwrap_or_default()).into()).unwrap();
            build.status = serde_json::from_value(status).unwrap();
            build.into()
        });
        Family { components: vec![component.into()], builds: build.into_iter().collect(), ..Family::default() }
    }

    fn published(start: i64) -> Value {
        let registry = json!({"url": "r.test/a", "state": "Completed", "completedAt": at(start + 13)});
        json!({
            "image": {"state": "Completed", "startedAt": at(start), "completedAt": at(start + 10)},
            "publish": {"state": "Completed", "registries": [registry]},
        })
    }

    fn conditions(list: &[(&str, &str, i64)]) -> Vec<Condition> {
        let one = |(kind, status, since): &(&str, &str, i64)| {
            let word = if *status == "True" { "Healthy" } else { "InProgress" };
            let value = json!({"type": kind, "status": status, "reason": word, "message": "", "lastTransitionTime": at(*since)});
            serde_json::from_value(value).unwrap()
        };
        list.iter().map(one).collect()
    }

    fn shown(timings: &[Timing]) -> Vec<(Stage, i64, Option<i64>)> {
        let second = |time: &Time| time.0.as_second() - 1_000_000;
        let one =
            |timing: &Timing| (timing.stage, second(&timing.started_at), timing.completed_at.as_ref().map(second));
        timings.iter().map(one).collect()
    }

    #[test]
    fn each_stage_of_a_roll_out_has_its_time() {
        let none = timings(&workspace(), &family(None, "", None), &[], &conditions(&[("Components", "False", 0)]));
        assert_eq!(shown(&none), [(Stage::Source, 0, None)]);
        let building = json!({"image": {"state": "InProgress", "startedAt": at(3)}});
        let conditions_then = conditions(&[("Components", "False", 0), ("Tunnel", "False", 1), ("DNS", "False", 0)]);
        let under_way = timings(&workspace(), &family(Some(2), "a", Some(building)), &none, &conditions_then);
        let wanted = [
            (Stage::Source, 0, Some(2)),
            (Stage::Queue, 2, Some(3)),
            (Stage::Build, 3, None),
            (Stage::Tunnel, 1, None),
        ];
        assert_eq!(shown(&under_way), wanted);
        let all = [("Components", "True", 20), ("Tunnel", "True", 5), ("DNS", "True", 22), ("Route", "True", 25)];
        let done = timings(&workspace(), &family(Some(2), "a", Some(published(3))), &under_way, &conditions(&all));
        let wanted = [
            (Stage::Source, 0, Some(2)),
            (Stage::Queue, 2, Some(3)),
            (Stage::Build, 3, Some(13)),
            (Stage::Publish, 13, Some(16)),
            (Stage::Deploy, 16, Some(20)),
            (Stage::Tunnel, 1, Some(5)),
            (Stage::Dns, 20, Some(22)),
            (Stage::Route, 22, Some(25)),
        ];
        assert_eq!(shown(&done), wanted);
        assert_eq!(took(&done), "build 10 s, deploy 4 s, publish 3 s");
        let again = timings(&workspace(), &family(Some(2), "a", Some(published(3))), &done, &conditions(&all));
        assert_eq!(again, done);
    }

    #[test]
    fn a_later_commit_has_times_of_its_own_and_what_did_not_run_again_keeps_its_last() {
        let all = |since| {
            conditions(&[
                ("Components", "True", since),
                ("Tunnel", "True", 5),
                ("DNS", "True", 22),
                ("Route", "True", 25),
            ])
        };
        let tunnel = conditions(&[("Components", "False", 0), ("Tunnel", "False", 1)]);
        let begun = timings(&workspace(), &family(Some(2), "a", None), &[], &tunnel);
        let first = timings(&workspace(), &family(Some(2), "a", Some(published(3))), &begun, &all(20));
        let later = timings(&workspace(), &family(Some(502), "b", Some(published(503))), &first, &all(520));
        let wanted = [
            (Stage::Source, 502, Some(502)),
            (Stage::Queue, 502, Some(503)),
            (Stage::Build, 503, Some(513)),
            (Stage::Publish, 513, Some(516)),
            (Stage::Deploy, 516, Some(520)),
            (Stage::Tunnel, 1, Some(5)),
            (Stage::Dns, 20, Some(22)),
            (Stage::Route, 22, Some(25)),
        ];
        assert_eq!(shown(&later), wanted);
    }
}
