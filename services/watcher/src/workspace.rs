//! A Workspace: its Components, its host, its way in, and its end.

mod children;
mod dns;
mod expiry;
mod status;
mod teardown;
mod timings;

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::names::Owner;
use sequencer_api::provider::{self, Provider};
use sequencer_api::status::State;
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_api::{Workspace, labels};
use sequencer_proto::topics::{Kind, Verb};
use serde_json::json;
use uuid::Uuid;

use crate::family::{Family, outside_word};
use crate::plan::{Action, Plan, Target, Told};
use crate::section::is;
use crate::tell;
use crate::wakes::{Work, call};

pub use dns::Taken;
pub use status::status;
pub(crate) use status::with_name;
pub(crate) use teardown::{abandoned, gives_up};
pub use timings::took;

/// The longest host name.
const HOST: usize = 253;

/// What the chart says about hosts.
#[derive(Clone, Debug)]
pub struct Chart {
    /// This cluster's name.
    pub cluster: String,
    /// Where DNSRecords live.
    pub namespace: String,
    /// Who serves which zone.
    pub providers: Vec<Provider>,
    /// How many seconds resolvers keep a record.
    pub dns_ttl: i32,
    /// The scheme behind a tunnel.
    pub tunnel_scheme: String,
    /// Whether an ingress is https where a Workspace does not say.
    pub ingress_tls: bool,
    /// How long the network service may still delete what an administrator gave up.
    pub abandon_after: Duration,
    /// What Workspaces may have.
    pub limits: Limits,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The ttl of a Workspace that names none.
    pub ttl: Option<Duration>,
    /// The longest.
    pub max_ttl: Duration,
    /// Workspaces in a namespace; 0 is any number.
    pub workspaces: usize,
    /// Builds of a namespace at once; 0 is any number.
    pub builds: usize,
}

/// Something in a spec that nothing can be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// What is wrong and what to do.
    pub message: String,
}

/// What is left to do for a Workspace. `taken` knows who has a DNSRecord's name.
#[must_use]
pub fn plan(workspace: &Workspace, family: &Family, chart: &Chart, taken: &Taken<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let target = Target::of(Kind::Workspace, workspace);
    let generation = workspace.metadata.generation.unwrap_or_default();
    let root = Uuid::try_parse(&target.uid).unwrap_or_default();
    let retry = outside_word(workspace);
    let work = Work { target: &target, workspace: root, generation, retry: &retry, now };
    if workspace.metadata.deletion_timestamp.is_some() {
        teardown::plan(&mut plan, workspace, family, chart, &work);
        return plan;
    }
    if let Some(end) = expiry::expires(workspace, &chart.limits) {
        if end <= now {
            expire(&mut plan, workspace, target);
            return plan;
        }
        let warned = expiry::warned_at(workspace, &chart.limits, end);
        plan.again_at(if now < warned { warned } else { end });
    }
    if refusal(workspace, family, &chart.limits).is_some() {
        return plan;
    }
    if needs_finalizer(workspace) {
        plan.actions.push(add_finalizer(workspace, &target));
    }
    children::follow(&mut plan, workspace, family);
    if workspace.spec.networking.is_some() || began_outside(workspace) {
        way_in(&mut plan, workspace, &work);
        dns::follow(&mut plan, workspace, family, chart, taken);
        probe(&mut plan, workspace, family, chart, &work);
    }
    plan
}

/// The ttl is over. With a finalizer the end is told when all of it is gone.
fn expire(plan: &mut Plan, workspace: &Workspace, target: Target) {
    if !began_outside(workspace) {
        plan.events.push(Told::new(&target, "Deleted", "its ttl was over"));
    }
    plan.actions.push(Action::Delete(target));
}

/// What a change of its conditions tells. What is wrong with a component, the component tells.
#[must_use]
pub fn news(
    workspace: &Workspace,
    family: &Family,
    limits: &Limits,
    before: &WorkspaceStatus,
    after: &WorkspaceStatus,
) -> Vec<Told> {
    let target = Target::of(Kind::Workspace, workspace);
    let (before, conditions) = (&before.conditions, &after.conditions);
    let own = refusal(workspace, family, limits).map(|_| "Components");
    let kinds = own.into_iter().chain(["Tunnel", "Ingress", "DNS", "Route", "TeardownBlocked"]);
    let mut news: Vec<_> = kinds.filter_map(|kind| tell::wrong(&target, kind, before, conditions)).collect();
    if let Some(mut ready) = tell::ready(&target, before, conditions) {
        let took = took(&after.timings);
        if !took.is_empty() {
            ready.message = format!("{} ({took})", ready.message);
        }
        news.push(ready);
    }
    news.extend(tell::expiring(&target, before, conditions));
    news
}

/// Whether something exists, or may, that only a finalizer keeps from being left behind.
fn began_outside(workspace: &Workspace) -> bool {
    workspace.finalizers().iter().any(|finalizer| finalizer == labels::WORKSPACE_FINALIZER)
}

fn needs_finalizer(workspace: &Workspace) -> bool {
    workspace.spec.networking.is_some() && !began_outside(workspace)
}

fn add_finalizer(workspace: &Workspace, target: &Target) -> Action {
    let operations = if workspace.finalizers().is_empty() {
        json!([{"op": "add", "path": "/metadata/finalizers", "value": [labels::WORKSPACE_FINALIZER]}])
    } else {
        json!([{"op": "add", "path": "/metadata/finalizers/-", "value": labels::WORKSPACE_FINALIZER}])
    };
    Action::Patch { target: target.clone(), operations }
}

/// The tunnel or the ingress. One that the spec has no more is taken down by the same worker.
fn way_in(plan: &mut Plan, workspace: &Workspace, work: &Work<'_>) {
    if !began_outside(workspace) {
        // The worker would refuse to act: it is woken when the finalizer is there.
        return;
    }
    let status = workspace.status.clone().unwrap_or_default();
    let networking = workspace.spec.networking.as_ref();
    let tunnel = &status.tunnel;
    let wanted = networking.is_some_and(|networking| networking.tunnel.is_some());
    if wanted || !tunnel.intents.is_empty() {
        let state = if wanted { State::Completed } else { State::Gone };
        let settled = is(&tunnel.section, state, work.generation);
        call(plan, work, Verb::Tunnel, None, &tunnel.section, settled, "");
    }
    let ingress = &status.ingress;
    let wanted = networking.is_some_and(|networking| networking.ingress.is_some());
    if wanted || ingress.name.is_some() {
        let state = if wanted { State::Completed } else { State::Gone };
        let settled = is(&ingress.section, state, work.generation);
        call(plan, work, Verb::Ingress, None, &ingress.section, settled, "");
    }
}

/// Whether the URL answers, once everything behind it is there.
fn probe(plan: &mut Plan, workspace: &Workspace, family: &Family, chart: &Chart, work: &Work<'_>) {
    let wanted = dns::wanted(workspace, chart);
    let there = wanted
        .as_ref()
        .is_some_and(|wanted| !wanted.is_empty() && wanted.iter().all(|record| dns::answers(record, family)));
    if !there || !status::components(workspace, family, &chart.limits).holds {
        return;
    }
    let route = workspace.status.clone().unwrap_or_default().route;
    let settled = is(&route.section, State::Healthy, work.generation);
    call(plan, work, Verb::Probe, None, &route.section, settled, "");
}

/// The host: known from names alone.
#[must_use]
pub fn host(workspace: &Workspace, chart: &Chart) -> Option<String> {
    let dns = &workspace.spec.networking.as_ref()?.dns;
    let (name, uid) = (workspace.name_any(), workspace.uid().unwrap_or_default());
    let label = dns.name.clone().unwrap_or_else(|| {
        Owner { name: &name, uid: &uid }.host_label(&chart.cluster, &workspace.namespace().unwrap_or_default())
    });
    Some(format!("{label}.{}", dns.zone))
}

/// The URL, whether or not it answers.
#[must_use]
pub fn url(workspace: &Workspace, chart: &Chart) -> Option<String> {
    let host = host(workspace, chart)?;
    let networking = workspace.spec.networking.as_ref()?;
    let scheme = match &networking.ingress {
        None => chart.tunnel_scheme.as_str(),
        Some(ingress) if ingress.tls.as_ref().map_or(chart.ingress_tls, |tls| tls.enabled) => "https",
        Some(_) => "http",
    };
    Some(format!("{scheme}://{host}"))
}

/// What is wrong with a Workspace as a whole, beyond what the schema can tell: nothing is made or changed for it.
#[must_use]
pub fn refusal(workspace: &Workspace, family: &Family, limits: &Limits) -> Option<Refusal> {
    over_quota(family, limits).or_else(|| expiry::refusal(workspace, limits)).or_else(|| circle(workspace))
}

/// One that was begun goes on.
fn over_quota(family: &Family, limits: &Limits) -> Option<Refusal> {
    let over = limits.workspaces > 0 && family.older >= limits.workspaces && family.components.is_empty();
    let message = format!(
        "this namespace has its {} Workspaces; it is made when one of them is deleted, or the operator allows more",
        limits.workspaces
    );
    over.then_some(Refusal { code: Code::WORKSPACE_QUOTA, message })
}

fn circle(workspace: &Workspace) -> Option<Refusal> {
    let names = workspace.spec.components.iter().map(|component| {
        let on = component.depends_on.iter().map(|dependency| dependency.component_name.as_str()).collect();
        (component.name.as_str(), on)
    });
    let circle = sequencer_api::dependencies::cycle(&names.collect())?;
    let message = format!("components wait for each other: {}; remove one of these dependsOn", circle.join(" -> "));
    Some(Refusal { code: Code::DEPENDENCY_CYCLE, message })
}

/// What is wrong with the host: the components run all the same.
fn host_refusal(workspace: &Workspace, chart: &Chart) -> Option<Refusal> {
    let dns = &workspace.spec.networking.as_ref()?.dns;
    let namespace = workspace.namespace().unwrap_or_default();
    let refused = |code, message| Some(Refusal { code, message });
    let provider = match provider::choose(&chart.providers, &dns.zone, &namespace, dns.provider.as_deref()) {
        Ok(provider) => provider,
        Err(code) => return refused(code, crate::record::no_provider(code, &dns.zone)),
    };
    if dns.name.is_some() && !provider.allow_names {
        let message = format!(
            "networking.dns.name: provider {} has no allowNames, so hosts are named by Sequencer; leave it out",
            provider.name
        );
        return refused(Code::ZONE_NOT_GRANTED, message);
    }
    let host = host(workspace, chart)?;
    if host.len() > HOST {
        return refused(
            Code::HOST_TOO_LONG,
            format!("{host} has {} characters; a host has at most {HOST}", host.len()),
        );
    }
    None
}
