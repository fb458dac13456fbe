//! The end of a Workspace: what is outside goes first, and the finalizer last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::condition::{ConditionType, Reason, Summary, find};
use sequencer_api::status::workspace::{Remaining, Teardown, TunnelSection, WorkspaceStatus};
use sequencer_api::status::{Section, State};
use sequencer_api::stored::Stored as _;
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_proto::topics::{Kind, Verb};
use sequencer_runtime::patch::test;

use super::view::WorkspaceView;
use crate::abandon::{abandoned, gives_up};
use crate::notifier::notify;
use crate::owned::Owned;
use crate::plan::{Action, Cause, Event, EventReason, Plan, Target};

/// The most that `status.teardown` names.
const SHOWN: usize = 16;

/// What is left of it.
pub(super) fn plan(plan: &mut Plan, view: &WorkspaceView) {
    if !view.has_finalizer() {
        return;
    }
    let WorkspaceView {
        workspace,
        owned,
        subject,
        before,
        ..
    } = view;
    // Garbage collection does not know them.
    for component in &owned.let_go {
        let target = Target::of(Kind::Component, component.as_ref());
        plan.actions.push(Action::Delete(target));
    }
    if ingress_may_stand(workspace, before) && !workspace.is_abandoned() {
        // As long as it answers its host is not let go: the next who holds that would share it.
        let ingress = &before.ingress.section;
        let cause = Cause::Deleting;
        notify(plan, subject, Verb::Ingress, None, ingress, false, cause);
        return;
    }
    for record in owned
        .records
        .iter()
        .filter(|record| record.metadata.deletion_timestamp.is_none())
    {
        let target = Target::of(Kind::DnsRecord, record.as_ref());
        plan.actions.push(Action::Delete(target));
    }
    if !owned.records.is_empty() {
        return;
    }

    let tunnel = &before.tunnel;
    let began = tunnel.section.rev > 0 || !tunnel.intents.is_empty();
    let gone = !began || (tunnel.section.state == Some(State::Gone) && tunnel.intents.is_empty());
    let abandon = owned.abandon(view.chart.abandon_after, subject.now);
    if !gone && !gives_up(plan, abandon, &tunnel.section, subject.now) {
        let tunnel = &tunnel.section;
        let cause = Cause::Deleting;
        notify(plan, subject, Verb::Tunnel, None, tunnel, false, cause);
        return;
    }
    // Not if a worker wrote an intent since.
    let same = test(&["status", "tunnel", "rev"], tunnel.section.rev);
    let (target, finalizer) = (subject.target.clone(), labels::WORKSPACE_FINALIZER);
    let remove = Action::remove_finalizer(target, workspace.as_ref(), finalizer, vec![same]);
    let Some(remove_finalizer) = remove else {
        return;
    };
    plan.actions.push(remove_finalizer);
    plan.events.push(last_event(view, gone));
}

/// What people read last of it. `gone` is whether the tunnel was seen gone.
fn last_event(view: &WorkspaceView, gone: bool) -> Event {
    let target = &view.subject.target;
    let left = left_behind(&view.before.tunnel);

    if !gone && !left.is_empty() {
        return abandoned(target, &left.join(", "));
    }

    // Its records went before, and may have been left behind.
    let message = if view.workspace.is_abandoned() {
        "Events with the reason Abandoned name what of it is left outside the cluster, if anything is"
    } else {
        "nothing of it is left outside the cluster"
    };
    Event::new(target, EventReason::Deleted, message)
}

/// What is left of a tunnel if its Workspace goes now: at the provider, and in the namespace of
/// connectors. An intent is written down before the first act, so without one there is nothing.
fn left_behind(tunnel: &TunnelSection) -> Vec<String> {
    let tunnels = tunnel.intents.iter().map(|intent| {
        let (name, account) = (&intent.name, &intent.account_id);
        format!("tunnel {name} in account {account} at {}", intent.provider)
    });
    let place = |kind: &str, name: &str, namespace: Option<&String>| {
        let namespace = namespace.map(|namespace| format!("{namespace}/"));
        format!("{kind} {}{name}", namespace.unwrap_or_default())
    };
    let deployment = tunnel.connector.iter();
    let secret = tunnel.credential_ref.iter();

    tunnels
        .chain(deployment.map(|at| place("Deployment", &at.name, at.namespace.as_ref())))
        .chain(secret.map(|at| place("Secret", &at.name, at.namespace.as_ref())))
        .collect()
}

/// The names of the tunnels that exist, or may.
fn intents(status: &WorkspaceStatus) -> String {
    let names = status
        .tunnel
        .intents
        .iter()
        .map(|intent| intent.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// Whether an Ingress may be there: what was made last need not be recorded yet.
fn ingress_may_stand(workspace: &Workspace, status: &WorkspaceStatus) -> bool {
    let asked_for = workspace
        .spec
        .networking
        .as_ref()
        .is_some_and(|networking| networking.ingress.is_some());
    (asked_for || status.ingress.name.is_some())
        && status.ingress.section.state != Some(State::Gone)
}

/// What people read while it goes.
pub(super) fn status(view: &WorkspaceView) -> Option<Teardown> {
    if !view.is_terminating() {
        return None;
    }

    let (stage, remaining) = remaining(&view.owned, &view.before);
    let before = view.before.teardown.as_ref();

    Some(Teardown {
        stage: stage.into(),
        started_at: before.map_or(Time(view.subject.now), |before| before.started_at.clone()),
        remaining,
    })
}

fn remaining(owned: &Owned, status: &WorkspaceStatus) -> (&'static str, Vec<Remaining>) {
    let one = |kind: &str, provider: Option<String>, name: String, section: &Section| Remaining {
        kind: kind.into(),
        provider,
        name,
        code: section.retry.as_ref().map(|retry| retry.code),
        message: section.retry.as_ref().map(|retry| retry.message.clone()),
    };

    if let Some(name) = status
        .ingress
        .name
        .as_ref()
        .filter(|_name| status.ingress.section.state != Some(State::Gone))
    {
        return (
            "Route",
            vec![one("Ingress", None, name.clone(), &status.ingress.section)],
        );
    }

    if !owned.records.is_empty() {
        let records = owned.records.iter().take(SHOWN).map(|record| {
            let section = recorded(record);
            one("DNS", provider(record), record.name_any(), &section)
        });
        return ("DNS", records.collect());
    }

    let tunnel = &status.tunnel;
    if !tunnel.intents.is_empty() {
        let intents = tunnel.intents.iter().take(SHOWN);
        let intents = intents.map(|intent| {
            one(
                "Tunnel",
                Some(intent.provider.clone()),
                intent.name.clone(),
                &tunnel.section,
            )
        });
        return ("Tunnel", intents.collect());
    }

    ("Workloads", Vec::new())
}

fn recorded(record: &DNSRecord) -> Section {
    record
        .status
        .as_ref()
        .map(|status| status.record.section.clone())
        .unwrap_or_default()
}

fn provider(record: &DNSRecord) -> Option<String> {
    record.status.as_ref()?.record.provider.clone()
}

/// What blocks it, and the way out.
pub(super) fn blocked(view: &WorkspaceView) -> Option<Summary> {
    let WorkspaceView {
        workspace,
        owned,
        before: status,
        ..
    } = view;

    if !view.is_terminating() {
        return None;
    }

    let before = find(&status.conditions, ConditionType::TeardownBlocked).is_some();
    // A further attempt is no end of it.
    let fails = |section: &Section| {
        let again = before && section.state == Some(State::Deleting);
        section.retry.is_some() && (section.state == Some(State::Error) || again)
    };

    let tunnel = &status.tunnel.section;
    let deleting = |record: &&DNSRecord| record.metadata.deletion_timestamp.is_some();
    let record = owned
        .records
        .iter()
        .map(AsRef::as_ref)
        .filter(deleting)
        .find(|record| fails(&recorded(record)));
    let (what, section) = match record {
        Some(record) => (format!("DNSRecord {}", record.name_any()), recorded(record)),
        None if owned.records.is_empty() && fails(tunnel) => {
            (format!("tunnel {}", intents(status)), tunnel.clone())
        }
        None => return None,
    };

    let cause = section
        .retry
        .map(|retry| format!("{} {}", retry.code, retry.message))
        .unwrap_or_default();
    let (namespace, name) = (workspace.namespace_str(), workspace.name_any());
    let uid = workspace.uid_str();
    let message = format!(
        "{what} is not deleted: {}. It is tried again; to leave it behind: kubectl annotate -n {namespace} ws {name} {}={uid}",
        cause.chars().take(CAUSE).collect::<String>(),
        labels::ABANDON_EXTERNAL
    );

    Some(Summary::yes(
        Reason::Code(Code::ExternalDeletionPending),
        message,
    ))
}

/// The most characters of a cause: the way out stands behind it.
const CAUSE: usize = 500;

#[cfg(test)]
mod tests;
