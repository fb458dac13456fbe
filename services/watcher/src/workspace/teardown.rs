//! The end of a Workspace: what is outside goes first, and the finalizer last.

use kube::ResourceExt as _;
use sequencer_api::status::State;
use sequencer_api::{Workspace, labels};
use sequencer_proto::topics::{Kind, Verb};

use serde_json::json;

use super::began_outside;
use crate::family::Family;
use crate::plan::{Action, Plan, Target, Told};
use crate::wakes::{Work, call};

/// What is left of it.
pub(super) fn plan(plan: &mut Plan, workspace: &Workspace, family: &Family, work: &Work<'_>) {
    if !began_outside(workspace) {
        return;
    }
    for record in family.records.iter().filter(|record| record.metadata.deletion_timestamp.is_none()) {
        plan.actions.push(Action::Delete(Target::of(Kind::DnsRecord, record.as_ref())));
    }
    if !family.records.is_empty() {
        return;
    }
    let tunnel = workspace.status.clone().unwrap_or_default().tunnel;
    let began = tunnel.section.rev > 0 || !tunnel.intents.is_empty();
    if began && !(tunnel.section.state == Some(State::Gone) && tunnel.intents.is_empty()) {
        call(plan, work, Verb::Tunnel, None, &tunnel.section, false, "deleting");
        return;
    }
    if let Some(lift) = lift(workspace, work.target, tunnel.section.rev) {
        plan.actions.push(lift);
        plan.events.push(Told::new(work.target, "Deleted", "nothing of it is left outside the cluster"));
    }
}

/// Takes the finalizer away, unless a worker wrote an intent since.
fn lift(workspace: &Workspace, target: &Target, tunnel: i64) -> Option<Action> {
    let at = workspace.finalizers().iter().position(|finalizer| finalizer == labels::WORKSPACE_FINALIZER)?;
    let path = format!("/metadata/finalizers/{at}");
    let operations = json!([
        {"op": "test", "path": "/status/tunnel/rev", "value": tunnel},
        {"op": "test", "path": path, "value": labels::WORKSPACE_FINALIZER},
        {"op": "remove", "path": path},
    ]);
    Some(Action::Patch { target: target.clone(), operations })
}

/// What people read while it goes.
pub(super) fn stage(workspace: &Workspace, family: &Family) -> (&'static str, Vec<String>) {
    if !family.records.is_empty() {
        return ("DNS", family.records.iter().map(|record| record.name_any()).collect());
    }
    let tunnel = workspace.status.clone().unwrap_or_default().tunnel;
    if !tunnel.intents.is_empty() {
        return ("Tunnel", tunnel.intents.iter().map(|intent| intent.name.clone()).collect());
    }
    ("Workloads", Vec::new())
}
