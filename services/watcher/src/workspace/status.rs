//! The watcher's part of a Workspace's status.

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::labels::commit12;
use sequencer_api::status::State;
use sequencer_api::status::workspace::{ComponentLine, WorkspacePhase, WorkspaceStatus};
use sequencer_api::{Component, Workspace, labels};

use super::{Chart, Limits, Taken, children, dns, expiry, host, host_refusal, refusal, teardown, timings, url};
use crate::conditions::{Conditions, Fact, Reason, find, repeat, worst};
use crate::family::Family;
use crate::plan::told;
use crate::section::is;

/// Derived from the sections and the children.
#[must_use]
pub fn status(
    workspace: &Workspace,
    family: &Family,
    chart: &Chart,
    taken: &Taken<'_>,
    now: Timestamp,
) -> WorkspaceStatus {
    let before = workspace.status.clone().unwrap_or_default();
    let generation = workspace.metadata.generation.unwrap_or_default();
    let facts = facts(workspace, family, chart, taken, &before, generation);
    let terminating = workspace.metadata.deletion_timestamp.is_some();
    let ready_url = facts.iter().all(|(_, fact)| fact.holds).then(|| url(workspace, chart)).flatten();
    let shown_url = ready_url.or_else(|| before.url.clone()).filter(|_| workspace.spec.networking.is_some());
    let commit = commit(family);
    let available = available(workspace, family, shown_url.as_deref());
    let ready = ready(workspace, &facts, &available, shown_url.as_deref(), commit.as_deref());
    let mut conditions = Conditions::new(&before.conditions, generation, now);
    for (kind, fact) in &facts {
        conditions.add(kind, fact);
    }
    conditions.add("Available", &available);
    let expires_at = expiry::expires_at(workspace, &chart.limits, &before, commit.as_deref(), now);
    if let Some(expiring) = expiry::expiring(workspace, &chart.limits, expires_at.as_ref(), now) {
        conditions.add("Expiring", &expiring);
    }
    if let Some(blocked) = teardown::blocked(workspace, family, &before) {
        conditions.add("TeardownBlocked", &blocked);
    }
    let stalled = format!(
        "push a fix, or try again: kubectl annotate ws {} {}=\"$(date +%s)\" --overwrite",
        workspace.name_any(),
        labels::RETRY
    );
    let conditions = conditions.finish(&ready, workspace.spec.paused, &stalled);
    let lines = lines(workspace, family);
    let good = lines.iter().filter(|line| line.ready == "True").count();
    WorkspaceStatus {
        observed_generation: generation,
        phase: phase(&ready, terminating),
        timings: timings::timings(workspace, family, &before.timings, &conditions),
        conditions,
        host: host(workspace, chart),
        url: shown_url,
        expires_at,
        commit,
        components_ready: Some(format!("{good}/{}", lines.len())),
        components: lines,
        teardown: teardown::status(workspace, family, &before, now),
        ..before
    }
}

fn facts(
    workspace: &Workspace,
    family: &Family,
    chart: &Chart,
    taken: &Taken<'_>,
    status: &WorkspaceStatus,
    generation: i64,
) -> Vec<(&'static str, Fact)> {
    let components = components(workspace, family, &chart.limits);
    let mut facts = vec![("Components", components)];
    let Some(networking) = &workspace.spec.networking else { return facts };
    if networking.tunnel.is_some() {
        facts.push(("Tunnel", tunnel(status, generation)));
    } else {
        facts.push(("Ingress", ingress(status, generation)));
    }
    facts.push(("DNS", dns_fact(workspace, family, chart, taken)));
    let before_route = facts.iter().all(|(_, fact)| fact.holds);
    facts.push(("Route", route(status, generation, before_route)));
    facts
}

/// Whether every Component is as the spec has it, and ready.
pub(super) fn components(workspace: &Workspace, family: &Family, limits: &Limits) -> Fact {
    if let Some(refusal) = refusal(workspace, family, limits) {
        return Fact::no(Reason::Error, told(refusal.code, &refusal.message));
    }
    let children = children::current(workspace, family);
    let all = children.len();
    let facts = children.into_iter().map(|(name, component)| {
        let fact = component.and_then(ready_of).unwrap_or_else(|| Fact::no(Reason::InProgress, "being made"));
        (name, fact)
    });
    let facts: Vec<_> = facts.collect();
    let good = facts.iter().filter(|(_, fact)| fact.holds).count();
    let bad = worst(facts.iter().map(|(_, fact)| fact)).filter(|fact| !fact.holds);
    let Some(bad) = bad else { return Fact::yes(Reason::Healthy, format!("{good} of {all} ready")) };
    let name = facts.iter().find(|(_, fact)| fact == bad).map_or("", |(name, _)| name.as_str());
    let message = match bad.reason {
        Reason::Error | Reason::Superseded => with_name(name, &bad.message),
        _ => format!("{good} of {all} ready; {name}: {}", bad.message),
    };
    let reason = if bad.reason == Reason::Superseded { Reason::InProgress } else { bad.reason };
    Fact::no(reason, message)
}

/// The code stays in front, where people and tools look for it.
pub(crate) fn with_name(name: &str, message: &str) -> String {
    match message.split_once(' ') {
        Some((code, rest)) if code.starts_with("E#") => format!("{code} {name}: {rest}"),
        _ => format!("{name}: {message}"),
    }
}

fn ready_of(component: &Component) -> Option<Fact> {
    let conditions = &component.status.as_ref()?.conditions;
    repeat(conditions, "Ready", component.metadata.generation.unwrap_or_default())
}

fn tunnel(status: &WorkspaceStatus, generation: i64) -> Fact {
    let section = &status.tunnel;
    let id = section.id.as_deref().map_or("", |id| id.get(..8).unwrap_or(id));
    if is(&section.section, State::Completed, generation) {
        return Fact::yes(Reason::Completed, format!("tunnel {id} connected"));
    }
    Fact::wrong(&section.section, None, generation).unwrap_or_else(|| {
        let message = if id.is_empty() { "being made".into() } else { format!("tunnel {id} made, not connected yet") };
        Fact::no(Reason::InProgress, message)
    })
}

fn ingress(status: &WorkspaceStatus, generation: i64) -> Fact {
    let section = &status.ingress;
    if is(&section.section, State::Completed, generation) {
        let addresses =
            section.addresses.iter().filter_map(|address| address.ip.as_deref().or(address.hostname.as_deref()));
        return Fact::yes(Reason::Completed, format!("reached at {}", addresses.collect::<Vec<_>>().join(", ")));
    }
    Fact::wrong(&section.section, None, generation).unwrap_or_else(|| {
        let message = if section.name.is_some() { "made; it has no address yet" } else { "being made" };
        Fact::no(Reason::InProgress, message)
    })
}

fn dns_fact(workspace: &Workspace, family: &Family, chart: &Chart, taken: &Taken<'_>) -> Fact {
    if let Some(refusal) = host_refusal(workspace, chart) {
        return Fact::no(Reason::Error, told(refusal.code, &refusal.message));
    }
    if let Some(host) = dns::is_taken(workspace, chart, taken) {
        return Fact::no(
            Reason::Error,
            told(Code::HOST_TAKEN, &format!("{host} is taken: choose another networking.dns.name")),
        );
    }
    let Some(wanted) = dns::wanted(workspace, chart) else {
        return Fact::no(Reason::Waiting, "published when the way in is there");
    };
    let facts: Vec<_> = wanted.iter().map(|wanted| record(wanted, family)).collect();
    worst(&facts).cloned().unwrap_or_else(|| Fact::yes(Reason::Completed, ""))
}

fn record(wanted: &sequencer_api::DNSRecord, family: &Family) -> Fact {
    let Some(found) = dns::found(wanted, family) else {
        return Fact::no(Reason::Waiting, "published when its components are ready");
    };
    let ready = found
        .status
        .as_ref()
        .filter(|_| found.spec == wanted.spec)
        .and_then(|status| repeat(&status.conditions, "Ready", found.metadata.generation.unwrap_or_default()));
    ready.unwrap_or_else(|| Fact::no(Reason::InProgress, "being made"))
}

fn route(status: &WorkspaceStatus, generation: i64, before: bool) -> Fact {
    let section = &status.route;
    if is(&section.section, State::Healthy, generation) {
        let code = section.rules.first().and_then(|rule| rule.http_status).unwrap_or_default();
        let path = section.rules.first().map_or("/", |rule| rule.path.as_str());
        return Fact::yes(Reason::Healthy, format!("GET {path} by the public way: {code}"));
    }
    let failure = section.rules.iter().find_map(|rule| rule.failure.as_ref());
    match Fact::wrong(&section.section, failure, generation) {
        Some(wrong) => wrong,
        None if before => Fact::no(Reason::InProgress, "probing"),
        None => Fact::no(Reason::Waiting, "probed when its record is answered"),
    }
}

/// Some version serves at the URL.
fn available(workspace: &Workspace, family: &Family, url: Option<&str>) -> Fact {
    let up = |component: &Component| {
        let conditions = component.status.as_ref().map_or(&[][..], |status| &status.conditions);
        find(conditions, "Available").is_some_and(|available| available.status == "True")
    };
    let all = workspace.spec.components.iter().all(|template| family.component(&template.name).is_some_and(up));
    if all && (url.is_some() || workspace.spec.networking.is_none()) {
        let commit = commit(family);
        return Fact::yes(Reason::Healthy, commit.map_or_else(String::new, |commit| format!("{commit} serves")));
    }
    Fact::no(Reason::InProgress, "first roll-out")
}

fn ready(
    workspace: &Workspace,
    facts: &[(&'static str, Fact)],
    available: &Fact,
    url: Option<&str>,
    commit: Option<&str>,
) -> Fact {
    if workspace.metadata.deletion_timestamp.is_some() {
        return Fact::no(Reason::Terminating, "being deleted");
    }
    let bad = worst(facts.iter().map(|(_, fact)| fact)).filter(|fact| !fact.holds);
    let Some(bad) = bad else {
        let what = commit.unwrap_or("it");
        let message = url.map_or_else(|| "every component is ready".into(), |url| format!("{what} serves at {url}"));
        return Fact::yes(Reason::Healthy, message);
    };
    let held = workspace.spec.paused && matches!(bad.reason, Reason::Waiting | Reason::InProgress);
    let reason = if held { Reason::Paused } else { bad.reason };
    let still = available.holds && !available.message.is_empty() && !bad.message.contains("still serves");
    let message = if still {
        format!("{}; {}", bad.message, available.message.replace(" serves", " still serves"))
    } else {
        bad.message.clone()
    };
    Fact::no(reason, message)
}

fn lines(workspace: &Workspace, family: &Family) -> Vec<ComponentLine> {
    let line = |name: &str| {
        let component = family.component(name);
        let ready = component.and_then(ready_of).unwrap_or_else(|| Fact::no(Reason::InProgress, "being made"));
        let deploy =
            component.and_then(|component| Some(component.status.as_ref()?.deploy.clone())).unwrap_or_default();
        ComponentLine {
            name: name.into(),
            ready: if ready.holds { "True".into() } else { "False".into() },
            reason: ready.reason.word().into(),
            message: Some(ready.message).filter(|message| !message.is_empty()),
            commit: deploy.commit.as_deref().map(|commit| commit12(commit).into()),
            image: deploy.images.first().map(|image| image.image.clone()),
        }
    };
    workspace.spec.components.iter().map(|template| line(&template.name)).collect()
}

/// The commits that serve: one alone, or each with its component's name.
fn commit(family: &Family) -> Option<String> {
    let serving = |component: &Component| {
        let commit = component.status.as_ref()?.deploy.commit.clone()?;
        Some((component.spec.template.name.clone(), commit12(&commit).to_owned()))
    };
    let commits: Vec<_> = family.components.iter().filter_map(|component| serving(component)).collect();
    match commits.as_slice() {
        [] => None,
        [(_, commit)] => Some(commit.clone()),
        several => Some(several.iter().map(|(name, commit)| format!("{name}={commit}")).collect::<Vec<_>>().join(",")),
    }
}

fn phase(ready: &Fact, terminating: bool) -> WorkspacePhase {
    match ready.reason {
        _ if terminating => WorkspacePhase::Terminating,
        _ if ready.holds => WorkspacePhase::Healthy,
        Reason::Error => WorkspacePhase::Error,
        _ => WorkspacePhase::Deploying,
    }
}
