//! The end of a Workspace: what is outside goes first, and the finalizer last.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::status::workspace::{Remaining, Teardown, WorkspaceStatus};
use sequencer_api::status::{Section, State};
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_proto::topics::{Kind, Verb};

use serde_json::json;

use super::{Chart, began_outside};
use crate::conditions::{Fact, Reason, find};
use crate::family::{Abandon, Family};
use crate::plan::{Action, Plan, Target, Told, told};
use crate::wakes::{Work, call};

/// The most that `status.teardown` names.
const SHOWN: usize = 16;

/// What is left of it.
pub(super) fn plan(plan: &mut Plan, workspace: &Workspace, family: &Family, chart: &Chart, work: &Work<'_>) {
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
    let gone = !began || (tunnel.section.state == Some(State::Gone) && tunnel.intents.is_empty());
    if !gone && !gives_up(plan, family.abandon(chart.abandon_after, work.now), &tunnel.section, work.now) {
        call(plan, work, Verb::Tunnel, None, &tunnel.section, false, "deleting");
        return;
    }
    let Some(lift) = lift(workspace, work.target, tunnel.section.rev) else { return };
    plan.actions.push(lift);
    plan.events.push(if gone {
        Told::new(work.target, "Deleted", "nothing of it is left outside the cluster")
    } else {
        let names: Vec<_> = tunnel.intents.iter().map(|intent| intent.name.as_str()).collect();
        let connector = tunnel.connector.map(|at| format!(", connector {}", at.name)).unwrap_or_default();
        abandoned(work.target, &format!("tunnel {}{connector}", names.join(", ")))
    });
}

/// Whether what a section is about is left where it is; not while somebody is at work there.
pub(crate) fn gives_up(plan: &mut Plan, abandon: Abandon, section: &Section, now: Timestamp) -> bool {
    let busy = section.claim.as_ref().map(|claim| claim.until.0).filter(|until| *until > now);
    match (abandon, busy) {
        (Abandon::No, _) => false,
        (Abandon::At(at), _) => {
            plan.again_at(at);
            false
        }
        (Abandon::Now, Some(until)) => {
            plan.again_at(until);
            false
        }
        (Abandon::Now, None) => true,
    }
}

/// What people read of something that was left behind: it is nobody's now.
pub(crate) fn abandoned(workspace: &Target, what: &str) -> Told {
    let message = format!("left behind because of {}: {what}", labels::ABANDON_EXTERNAL);
    Told { warning: true, ..Told::new(workspace, "Abandoned", message) }
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
pub(super) fn status(
    workspace: &Workspace,
    family: &Family,
    before: &WorkspaceStatus,
    now: Timestamp,
) -> Option<Teardown> {
    workspace.metadata.deletion_timestamp.as_ref()?;
    let (stage, remaining) = remaining(family, before);
    let started_at = before.teardown.as_ref().map_or(Time(now), |teardown| teardown.started_at.clone());
    Some(Teardown { stage: stage.into(), started_at, remaining })
}

fn remaining(family: &Family, status: &WorkspaceStatus) -> (&'static str, Vec<Remaining>) {
    let one = |kind: &str, provider: Option<String>, name: String, section: &Section| Remaining {
        kind: kind.into(),
        provider,
        name,
        code: section.retry.as_ref().map(|retry| retry.code.clone()),
        message: section.retry.as_ref().map(|retry| retry.message.clone()),
    };
    if !family.records.is_empty() {
        let records = family.records.iter().take(SHOWN).map(|record| {
            let section = recorded(record);
            one("DNS", provider(record), record.name_any(), &section)
        });
        return ("DNS", records.collect());
    }
    let tunnel = &status.tunnel;
    if !tunnel.intents.is_empty() {
        let intents = tunnel.intents.iter().take(SHOWN);
        let intents =
            intents.map(|intent| one("Tunnel", Some(intent.provider.clone()), intent.name.clone(), &tunnel.section));
        return ("Tunnel", intents.collect());
    }
    ("Workloads", Vec::new())
}

fn recorded(record: &DNSRecord) -> Section {
    record.status.as_ref().map(|status| status.record.section.clone()).unwrap_or_default()
}

fn provider(record: &DNSRecord) -> Option<String> {
    record.status.as_ref()?.record.provider.clone()
}

/// What blocks it, and the way out.
pub(super) fn blocked(workspace: &Workspace, family: &Family, status: &WorkspaceStatus) -> Option<Fact> {
    workspace.metadata.deletion_timestamp.as_ref()?;
    let before = find(&status.conditions, "TeardownBlocked").is_some();
    // A further attempt is no end of it.
    let fails = |section: &Section| {
        let again = before && section.state == Some(State::Deleting);
        section.retry.is_some() && (section.state == Some(State::Error) || again)
    };
    let tunnel = &status.tunnel.section;
    let deleting = |record: &&DNSRecord| record.metadata.deletion_timestamp.is_some();
    let record = family.records.iter().map(AsRef::as_ref).filter(deleting).find(|record| fails(&recorded(record)));
    let (what, section) = match record {
        Some(record) => (format!("DNSRecord {}", record.name_any()), recorded(record)),
        None if family.records.is_empty() && fails(tunnel) => {
            let names: Vec<_> = status.tunnel.intents.iter().map(|intent| intent.name.as_str()).collect();
            (format!("tunnel {}", names.join(", ")), tunnel.clone())
        }
        None => return None,
    };
    let cause = section.retry.map(|retry| format!("{} {}", retry.code, retry.message)).unwrap_or_default();
    let (name, uid) = (workspace.name_any(), workspace.uid().unwrap_or_default());
    let message = format!(
        "{what} is not deleted: {}. It is tried again; to leave it behind: kubectl annotate ws {name} {}={uid}",
        cause.chars().take(CAUSE).collect::<String>(),
        labels::ABANDON_EXTERNAL
    );
    Some(Fact::yes(Reason::Error, told(Code::STILL_THERE, &message)))
}

/// The most characters of a cause: the way out stands behind it.
const CAUSE: usize = 500;
