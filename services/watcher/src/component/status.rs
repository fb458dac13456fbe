//! The watcher's part of a Component's status, from what is known of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use sequencer_api::code::Code;
use sequencer_api::condition::{ConditionType, Reason, Severity, Summary, find, holds};
use sequencer_api::labels::commit12;
use sequencer_api::status::State;
use sequencer_api::status::component::{ComponentPhase, ComponentStatus, DeploySection};
use sequencer_proto::topics::Kind;

use super::view::ComponentView;
use super::{builds, dependencies};
use crate::build::BuildView;
use crate::conditions::{Conditions, Verdict, advice, while_serving, wrong};

/// The status as it has to be.
pub(super) fn status(view: &ComponentView) -> ComponentStatus {
    let ComponentView {
        component,
        before,
        subject,
        ..
    } = view;
    let summaries = summaries(view);
    let verdict = verdict(&summaries);
    let ready = conclude(view, &summaries, verdict);

    let mut conditions = Conditions::new(&before.conditions, subject.generation, subject.now);

    for (kind, summary) in &summaries {
        conditions.add(*kind, summary);
    }

    conditions.add(ConditionType::Available, &available(before));

    let conditions = conditions.finish(
        &while_serving(ready.clone(), serving(before)),
        verdict.retried,
        component.spec.paused,
        &advice(&ready, "comp", component.as_ref()),
    );

    let desired = view.desired.as_ref().map(|build| build.name_any());

    ComponentStatus {
        observed_generation: subject.generation,
        phase: phase(&ready),
        conditions,
        latest_build: desired
            .or_else(|| before.latest_build.clone())
            .filter(|_| component.spec.template.build.is_some()),
        ..before.clone()
    }
}

impl ComponentView {
    /// What `Ready` says.
    pub(crate) fn ready(&self) -> Summary {
        let summaries = summaries(self);
        conclude(self, &summaries, verdict(&summaries))
    }

    /// The commit that serves, if some version does.
    pub(crate) fn serving(&self) -> Option<&str> {
        serving(&self.before)
    }
}

/// What is wrong with the Component itself, and not with one that it waits for.
pub(super) fn trouble(view: &ComponentView) -> Option<Summary> {
    let own = own(view);
    Summary::worst(own.iter().map(|(_, summary)| summary))
        .filter(|worst| worst.severity() == Severity::Failed)
        .cloned()
}

fn serving(status: &ComponentStatus) -> Option<&str> {
    let commit = status.deploy.commit.as_deref().map(commit12);
    commit.filter(|_| available(status).holds)
}

/// A branch is looked up again and again: the commit that serves is the newest known.
fn verdict(summaries: &[(ConditionType, Summary)]) -> Verdict<'_> {
    Verdict::of(summaries, &[ConditionType::Source])
}

fn conclude(
    view: &ComponentView,
    summaries: &[(ConditionType, Summary)],
    verdict: Verdict<'_>,
) -> Summary {
    let pod = || {
        let mut all = summaries.iter();
        all.find(|(kind, _)| *kind == ConditionType::Pod)
            .map(|(_, summary)| summary)
    };
    let ready = verdict.wrong.or_else(pod).cloned();
    let ready = ready.unwrap_or_else(|| Summary::no(Reason::Waiting, ""));

    if view.component.metadata.deletion_timestamp.is_some() {
        return Summary::no(Reason::Terminating, "being deleted");
    }

    let goes_on = matches!(ready.severity(), Severity::Waiting | Severity::InProgress);
    if view.component.spec.paused && goes_on {
        return Summary::no(Reason::Paused, "spec.paused holds a change back");
    }

    ready
}

/// The summaries in the order of the work.
fn summaries(view: &ComponentView) -> Vec<(ConditionType, Summary)> {
    let mut summaries = own(view);

    if !view.component.spec.template.depends_on.is_empty() {
        let at = summaries
            .iter()
            .position(|(kind, _)| *kind == ConditionType::Variables)
            .unwrap_or_default();
        summaries.insert(
            at,
            (ConditionType::Dependencies, dependencies::summary(view)),
        );
    }

    summaries
}

/// The summaries that do not come from other components.
fn own(view: &ComponentView) -> Vec<(ConditionType, Summary)> {
    let template = &view.component.spec.template;
    let mut summaries = Vec::new();

    if template.build.is_some() {
        summaries.push((ConditionType::Source, source(view)));
        summaries.push((ConditionType::Build, build(view)));
    }

    summaries.push((ConditionType::Variables, variables(view)));
    if !template.networks.is_empty() {
        summaries.push((ConditionType::Network, network(view)));
    }

    summaries.push((ConditionType::Pod, pod(view)));
    summaries
}

fn source(view: &ComponentView) -> Summary {
    let source = &view.before.source;
    let (generation, now) = (view.subject.generation, view.subject.now);

    if let Some(Err(refusal)) = &view.pool {
        return refusal.clone().into();
    }

    if let Some(wrong) = wrong(&source.section, None, generation, now) {
        return wrong;
    }

    let build = view.component.spec.template.build.as_ref();
    if !build.is_some_and(|build| builds::resolved(build, source)) {
        return Summary::no(Reason::InProgress, "looking up the commit");
    }

    let shown = source.imports.iter().map(|import| {
        let branch = import.reference.as_deref().unwrap_or("HEAD");
        format!("{branch} at {}", commit12(&import.commit))
    });
    Summary::yes(Reason::Completed, shown.collect::<Vec<_>>().join(", "))
}

fn build(view: &ComponentView) -> Summary {
    let Some(wanted) = &view.desired else {
        return Summary::no(Reason::Waiting, "waiting for the commit");
    };

    let name = wanted.name_any();
    let mut builds = view.owned.builds.iter();
    let Some(found) = builds.find(|build| build.name_any() == name) else {
        let mut denied = view.owned.denied(view.component.as_ref()).iter();
        // Those whose place it takes are marked first.
        let denied = denied.find(|denied| denied.is_of(Kind::Build));
        let creating = || Summary::no(Reason::Waiting, format!("creating Build {name}"));
        return denied.map_or_else(creating, |denied| denied.summary(view.subject.now));
    };

    let (owner, now) = (view.subject.owner, view.subject.now);
    let ready = BuildView::new(found.clone(), owner, false, &view.chart, now).ready();
    if ready.holds {
        return Summary::yes(Reason::Completed, ready.message);
    }

    let waits = |reported: &&Condition| reported.reason == Reason::Waiting.as_str();
    let reported = found
        .status
        .as_ref()
        .and_then(|status| find(&status.conditions, ConditionType::Ready))
        .filter(waits);

    match ready.reason {
        // Whether it waits for its turn only its own status says.
        Reason::Waiting => {
            let message = reported.map_or(&ready.message, |reported| &reported.message);
            Summary::no(Reason::Waiting, format!("{message} ({name})"))
        }
        // Its mark goes as soon as it is seen to be wanted.
        Reason::Superseded => Summary::no(Reason::InProgress, format!("{name} is wanted again")),
        Reason::Code(_) if !ready.retried => Summary {
            message: format!("{}; more: kubectl describe bld {name}", ready.message),
            ..ready
        },
        _ => Summary {
            message: format!("{} ({name})", ready.message),
            ..ready
        },
    }
}

/// What the deployer says is wrong with the rendered template or what it made of it.
fn not_deployed(view: &ComponentView) -> Option<Summary> {
    let deploy = &view.before.deploy;
    let (generation, now) = (view.subject.generation, view.subject.now);
    wrong(&deploy.section, deploy.failure.as_ref(), generation, now)
}

/// Whether what is wrong belongs to the condition of variables.
fn is_about_variables(summary: &Summary) -> bool {
    matches!(
        summary.reason,
        Reason::Code(
            Code::VariableUnterminated
                | Code::VariableNameUnknown
                | Code::VariableMalformed
                | Code::VariableSectionUnknown
                | Code::GeneratedVariableEmbedded
                | Code::RenderedTooLarge
        )
    )
}

fn variables(view: &ComponentView) -> Summary {
    if let Some(wrong) = not_deployed(view).filter(is_about_variables) {
        return wrong;
    }
    if view.started {
        return Summary::yes(Reason::Completed, "");
    }
    not_started(view)
}

fn network(view: &ComponentView) -> Summary {
    let services = &view.before.deploy.services;
    let served = |name: &str| services.iter().any(|service| service.network == name);
    let networks = &view.component.spec.template.networks;
    if networks.iter().all(|network| served(&network.name)) {
        return Summary::yes(Reason::Completed, "");
    }

    let not_ours =
        not_deployed(view).filter(|wrong| wrong.reason == Reason::Code(Code::ObjectNotOwned));
    not_ours.unwrap_or_else(|| Summary::no(Reason::Waiting, "creating its Services"))
}

fn pod(view: &ComponentView) -> Summary {
    let (deploy, generation) = (&view.before.deploy, view.subject.generation);

    if let Some(wrong) = not_deployed(view).filter(|wrong| !is_about_variables(wrong)) {
        return wrong;
    }

    if let Some(build) = view.to_roll_out() {
        return Summary::no(Reason::InProgress, format!("rolling out {build}"));
    }

    if view.started && !view.is_up_to_date() {
        let message = "rolling out a change of its variables, routes or labels";
        return Summary::no(Reason::InProgress, message);
    }

    if deploy.section.is(State::Completed, generation) {
        return Summary::yes(Reason::Completed, "its Job is done");
    }

    let replicas = replicas(deploy);

    if deploy.section.is(State::Healthy, generation) {
        return Summary::yes(Reason::Healthy, replicas);
    }

    if view.started {
        let pulling = deploy.pulling.as_ref();
        let pulling = pulling.map(|image| format!("pulling {image}"));
        let probe = deploy.probe.as_ref();
        let probe = probe.map(|words| format!("{replicas}; {words}"));
        return Summary::no(Reason::InProgress, pulling.or(probe).unwrap_or(replicas));
    }

    not_started(view)
}

/// What keeps the newest version from being started, as far as it has no condition of its own.
fn not_started(view: &ComponentView) -> Summary {
    if !view.may_start() {
        let message = match view.before.deploy.kind {
            Some(_) => "the new version has not started yet",
            None => "not started yet",
        };
        return Summary::no(Reason::Waiting, message);
    }

    let awaited = dependencies::awaited(view, dependencies::held(view));
    awaited.unwrap_or_else(|| Summary::no(Reason::InProgress, "starting"))
}

/// How many pods are ready. They are of any version as long as one is rolled out.
fn replicas(deploy: &DeploySection) -> String {
    let (ready, wanted) = (
        deploy.ready_replicas.unwrap_or_default(),
        deploy.replicas.unwrap_or_default(),
    );

    if deploy.section.state == Some(State::InProgress) && wanted > 0 && ready >= wanted {
        "rolling out".into()
    } else {
        format!("{ready} of {wanted} ready")
    }
}

/// Some version serves: what was rolled out once stays up while a newer one comes, since old pods
/// go only when the new are ready.
fn available(status: &ComponentStatus) -> Summary {
    let deploy = &status.deploy;
    let before = holds(&status.conditions, ConditionType::Available);
    let failure = deploy
        .failure
        .as_ref()
        .filter(|_| deploy.replicas.is_some());

    match deploy.section.state {
        Some(State::Completed) => Summary::yes(Reason::Completed, ""),
        Some(State::Healthy) => Summary::yes(Reason::Healthy, ""),
        _ if deploy.ready_replicas.unwrap_or_default() > 0 => Summary::yes(Reason::Healthy, ""),
        state => match failure.filter(|_| state == Some(State::Error)) {
            Some(failure) => Summary::failed(failure.code, "no pod of it is ready"),
            None if before => Summary::yes(Reason::Healthy, ""),
            None => Summary::no(Reason::InProgress, "first roll-out"),
        },
    }
}

fn phase(ready: &Summary) -> ComponentPhase {
    match ready.reason {
        Reason::Terminating => ComponentPhase::Terminating,
        Reason::Completed if ready.holds => ComponentPhase::Completed,
        _ if ready.holds => ComponentPhase::Healthy,
        Reason::Code(_) if !ready.retried => ComponentPhase::Error,
        _ => ComponentPhase::Deploying,
    }
}

#[cfg(test)]
mod tests;
