//! The watcher's part of a Component's status.

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::Component;
use sequencer_api::code::Code;
use sequencer_api::labels::commit12;
use sequencer_api::status::State;
use sequencer_api::status::component::{ComponentPhase, ComponentStatus, DeploySection, SourceSection};
use sequencer_proto::topics::Pool;

use super::{builds, started, waits};
use crate::conditions::{Conditions, Fact, Reason, find, repeat, worst};
use crate::family::Family;
use crate::plan::told;
use crate::section::is;

/// The codes of variables, which have a condition of their own.
const VARIABLES: [&str; 6] = ["E#2001", "E#2006", "E#2009", "E#2012", "E#2013", "E#2016"];

/// Derived from the sections, the Build and the siblings.
#[must_use]
pub fn status(component: &Component, family: &Family, pools: &[Pool], now: Timestamp) -> ComponentStatus {
    let before = component.status.clone().unwrap_or_default();
    let generation = component.metadata.generation.unwrap_or_default();
    let facts = facts(component, family, pools, &before, generation);
    let available = available(&before);
    let mut ready = worst(facts.iter().map(|(_, fact)| fact)).cloned().unwrap_or_else(|| Fact::no(Reason::Waiting, ""));
    if ready.holds
        && let Some((_, pod)) = facts.iter().find(|(kind, _)| *kind == "Pod")
    {
        ready = pod.clone();
    }
    if !ready.holds && component.spec.paused && matches!(ready.reason, Reason::Waiting | Reason::InProgress) {
        ready = Fact::no(Reason::Paused, "spec.paused holds a change back");
    }
    if component.metadata.deletion_timestamp.is_some() {
        ready = Fact::no(Reason::Terminating, "being deleted");
    }
    if !ready.holds
        && available.holds
        && let Some(commit) = &before.deploy.commit
    {
        ready.message = format!("{}; {} still serves", ready.message, commit12(commit));
    }
    let mut conditions = Conditions::new(&before.conditions, generation, now);
    for (kind, fact) in &facts {
        conditions.add(kind, fact);
    }
    conditions.add("Available", &available);
    let stalled = format!(
        "mend what the message names, or try again: kubectl annotate component {} {}=\"$(date +%s)\" --overwrite",
        component.name_any(),
        sequencer_api::labels::RETRY,
    );
    let conditions = conditions.finish(&ready, component.spec.paused, &stalled);
    let latest_build = builds::desired(component).map(|build| build.name_any()).or_else(|| before.latest_build.clone());
    let latest_build = latest_build.filter(|_| component.spec.template.build.is_some());
    ComponentStatus { observed_generation: generation, phase: phase(&ready), conditions, latest_build, ..before }
}

/// The facts in the order of the work.
fn facts(
    component: &Component,
    family: &Family,
    pools: &[Pool],
    status: &ComponentStatus,
    generation: i64,
) -> Vec<(&'static str, Fact)> {
    let mut facts = Vec::new();
    if component.spec.template.build.is_some() {
        facts.push(("Source", source(component, pools, &status.source, generation)));
        facts.push(("Build", build(component, family, pools)));
    }
    let deploy = &status.deploy;
    if !component.spec.template.depends_on.is_empty() {
        facts.push(("Dependencies", dependencies(component, family, deploy, generation)));
    }
    facts.push(("Variables", variables(deploy, generation)));
    if !component.spec.template.networks.is_empty() {
        facts.push(("Network", network(component, deploy, generation)));
    }
    facts.push(("Pod", pod(component, family, deploy, generation)));
    facts
}

fn source(component: &Component, pools: &[Pool], source: &SourceSection, generation: i64) -> Fact {
    let Some(build) = &component.spec.template.build else { return Fact::yes(Reason::Completed, "") };
    if !pools.iter().any(|pool| pool.as_str() == build.runtime.pool) {
        let known: Vec<_> = pools.iter().map(Pool::as_str).collect();
        let message = format!("no pool {:?}; known: {}", build.runtime.pool, known.join(", "));
        return Fact::no(Reason::Error, told(Code::UNKNOWN_POOL, &message));
    }
    if let Some(wrong) = Fact::wrong(&source.section, None, generation) {
        return wrong;
    }
    if !builds::resolved(build, source) {
        return Fact::no(Reason::InProgress, "looking up the commit");
    }
    let shown = source.imports.iter().map(|import| {
        let branch = import.reference.as_deref().unwrap_or("HEAD");
        format!("{branch} at {}", commit12(&import.commit))
    });
    Fact::yes(Reason::Completed, shown.collect::<Vec<_>>().join(", "))
}

fn build(component: &Component, family: &Family, pools: &[Pool]) -> Fact {
    let Some(wanted) = builds::desired(component) else {
        return Fact::no(Reason::Waiting, "built when the commit is known");
    };
    let name = wanted.name_any();
    let Some(found) = family.builds.iter().find(|build| build.name_any() == name) else {
        return Fact::no(Reason::Waiting, format!("Build {name} was just made"));
    };
    let conditions = found.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let told = repeat(conditions, "Ready", found.metadata.generation.unwrap_or_default());
    let ready = told.unwrap_or_else(|| crate::build::ready(found, pools));
    if ready.holds {
        return Fact::yes(Reason::Completed, ready.message);
    }
    let message = match ready.reason {
        Reason::Error => format!("{}; more: kubectl describe bld {name}", ready.message),
        _ => format!("{} ({name})", ready.message),
    };
    Fact { message, ..ready }
}

fn dependencies(component: &Component, family: &Family, deploy: &DeploySection, generation: i64) -> Fact {
    let started = started(deploy, generation);
    let waits = waits(component, family);
    if started || waits.is_empty() {
        return Fact::yes(Reason::Completed, "");
    }
    let failed = waits.iter().find_map(|wait| {
        let status = family.component(&wait.component_name)?.status.as_ref()?;
        let ready = find(&status.conditions, "Ready").filter(|ready| ready.reason == Reason::Error.word())?;
        Some(Fact::no(Reason::Error, format!("{}: {}", wait.component_name, ready.message)))
    });
    failed.unwrap_or_else(|| {
        let shown = waits.iter().map(|wait| {
            let now = wait.now.as_deref().unwrap_or("not known yet");
            format!("{} {} {} (now {now})", wait.component_name, wait.condition_type, wait.condition_status)
        });
        Fact::no(Reason::Waiting, format!("waits for {}", shown.collect::<Vec<_>>().join(", ")))
    })
}

/// What the deployer says is wrong with the rendered template or what it made of it.
fn wrong(deploy: &DeploySection, generation: i64) -> Option<Fact> {
    Fact::wrong(&deploy.section, deploy.failure.as_ref(), generation)
}

fn is_about_variables(fact: &Fact) -> bool {
    VARIABLES.iter().any(|code| fact.message.starts_with(code))
}

fn variables(deploy: &DeploySection, generation: i64) -> Fact {
    if let Some(wrong) = wrong(deploy, generation).filter(is_about_variables) {
        return wrong;
    }
    if started(deploy, generation) {
        return Fact::yes(Reason::Completed, "");
    }
    Fact::no(Reason::Waiting, "rendered when it starts")
}

fn network(component: &Component, deploy: &DeploySection, generation: i64) -> Fact {
    let served = |name: &str| deploy.services.iter().any(|service| service.network == name);
    if component.spec.template.networks.iter().all(|network| served(&network.name)) {
        return Fact::yes(Reason::Completed, "");
    }
    let not_ours = wrong(deploy, generation).filter(|fact| fact.message.starts_with(&Code::NOT_OURS.to_string()));
    not_ours.unwrap_or_else(|| Fact::no(Reason::Waiting, "its Services are made when it starts"))
}

fn pod(component: &Component, family: &Family, deploy: &DeploySection, generation: i64) -> Fact {
    if let Some(wrong) = wrong(deploy, generation).filter(|fact| !is_about_variables(fact)) {
        return wrong;
    }
    let newest = builds::newest_published(component, family).map(|build| build.name_any());
    if newest.is_some() && deploy.build.is_some() && newest != deploy.build {
        return Fact::no(Reason::InProgress, format!("rolling out {}", newest.unwrap_or_default()));
    }
    if is(&deploy.section, State::Completed, generation) {
        return Fact::yes(Reason::Completed, "its Job is done");
    }
    let (ready, wanted) = (deploy.ready_replicas.unwrap_or_default(), deploy.replicas.unwrap_or_default());
    if is(&deploy.section, State::Healthy, generation) {
        return Fact::yes(Reason::Healthy, format!("{ready} of {wanted} ready"));
    }
    if started(deploy, generation) {
        return Fact::no(Reason::InProgress, format!("{ready} of {wanted} ready"));
    }
    let reason = if waits(component, family).is_empty() && builds::any_published(component, family) {
        Reason::InProgress
    } else {
        Reason::Waiting
    };
    Fact::no(reason, if reason == Reason::Waiting { "not started yet" } else { "starting" })
}

/// Some version serves: what was rolled out once stays up while a newer one comes, since old pods go only when the new
/// are ready.
fn available(status: &ComponentStatus) -> Fact {
    let deploy = &status.deploy;
    let before = find(&status.conditions, "Available").is_some_and(|before| before.status == "True");
    match deploy.section.state {
        Some(State::Completed) => Fact::yes(Reason::Completed, ""),
        Some(State::Healthy) => Fact::yes(Reason::Healthy, ""),
        _ if deploy.ready_replicas.unwrap_or_default() > 0 => Fact::yes(Reason::Healthy, ""),
        Some(State::Error) if deploy.replicas.is_some() => Fact::no(Reason::Error, "no pod of it is ready"),
        _ if before => Fact::yes(Reason::Healthy, ""),
        _ => Fact::no(Reason::InProgress, "first roll-out"),
    }
}

fn phase(ready: &Fact) -> ComponentPhase {
    match ready.reason {
        Reason::Terminating => ComponentPhase::Terminating,
        Reason::Completed if ready.holds => ComponentPhase::Completed,
        _ if ready.holds => ComponentPhase::Healthy,
        Reason::Error => ComponentPhase::Error,
        _ => ComponentPhase::Deploying,
    }
}
