//! What is to be done for a Workspace.

mod children;
mod dns;

use sequencer_api::host::Lock;
use sequencer_api::labels;
use sequencer_api::status::{Section, State};
use sequencer_proto::topics::Verb;

use super::view::WorkspaceView;
use super::{expiry, teardown};
use crate::notifier::{notification, notify};
use crate::plan::{Action, Cause, Event, EventReason, Inputs, Plan, Policy};

/// What is to be done.
pub(super) fn plan(view: &WorkspaceView) -> Plan {
    let mut plan = Plan::default();
    let WorkspaceView {
        workspace,
        chart,
        subject,
        ..
    } = view;

    if view.is_terminating() {
        teardown::plan(&mut plan, view);
        return plan;
    }

    if let Some(end) = expiry::expires(workspace, &chart.limits) {
        if end <= subject.now {
            expire(&mut plan, view);
            return plan;
        }
        let warned = expiry::warned_at(workspace, &chart.limits, end);
        plan.again_at(if subject.now < warned { warned } else { end });
    }

    if view.refusal.is_some() {
        return plan;
    }

    if workspace.spec.networking.is_some() && !view.has_finalizer() {
        let (target, finalizer) = (subject.target.clone(), labels::WORKSPACE_FINALIZER);
        let add = Action::add_finalizer(target, workspace.as_ref(), finalizer);
        plan.first.push(add);
    }

    children::follow(&mut plan, view);
    if workspace.spec.networking.is_some() || view.has_finalizer() {
        expose(&mut plan, view);
        dns::follow(&mut plan, view);
        probe(&mut plan, view);
    }

    plan
}

/// The ttl is over. With a finalizer the end is reported when all of it is gone.
fn expire(plan: &mut Plan, view: &WorkspaceView) {
    let target = &view.subject.target;
    if !view.has_finalizer() {
        let event = Event::new(target, EventReason::Deleted, "its ttl was over");
        plan.events.push(event);
    }
    plan.actions.push(Action::Delete(target.clone()));
}

/// The tunnel or the ingress: made once the hosts are held, and taken down by the same worker when
/// the spec has it no more and the one in its place answers, or when the hosts are another's.
fn expose(plan: &mut Plan, view: &WorkspaceView) {
    let WorkspaceView {
        before,
        subject,
        lock,
        ..
    } = view;

    if !view.has_finalizer() || *lock == Lock::Free {
        // The worker would refuse to act: it is notified when the finalizer is there, and the hosts
        // are held.
        return;
    }

    let networking = view.workspace.spec.networking.as_ref();
    let networking = networking.filter(|_| *lock == Lock::Held);
    let cause = match *lock {
        Lock::Held if before.is_unreachable() => Cause::Unreachable,
        Lock::Held => Cause::Spec,
        _ => Cause::Refused,
    };
    let may_leave = *lock != Lock::Held || !view.workspace.awaits_way_in();
    let mut make = |verb, section: &Section, wanted, exists| {
        let began = section.state == Some(State::Deleting);
        if wanted || (exists && (may_leave || began)) {
            let state = if wanted {
                State::Completed
            } else {
                State::Gone
            };
            let settled = section.is(state, subject.generation);
            let cause = cause.clone();
            notify(plan, subject, verb, None, section, settled, cause);
        }
    };

    let (tunnel, ingress) = (&before.tunnel, &before.ingress);
    let wanted = networking.is_some_and(|networking| networking.tunnel.is_some());
    let exists = !tunnel.intents.is_empty();
    make(Verb::Tunnel, &tunnel.section, wanted, exists);
    let wanted = networking.is_some_and(|networking| networking.ingress.is_some());
    let exists = ingress.name.is_some();
    make(Verb::Ingress, &ingress.section, wanted, exists);
}

/// Whether the URL answers, once everything behind it is there, and whether it still does.
fn probe(plan: &mut Plan, view: &WorkspaceView) {
    let (subject, route) = (&view.subject, &view.before.route.section);

    if view.is_probed() && !subject.retry.is_new_to(route) {
        let inputs = Inputs::of(subject, Some(route.rev), Cause::Spec);
        let probe = notification(subject, Verb::Probe, None, inputs, Policy::Watched);
        plan.notifications.push(probe);
    } else if view.is_published() && view.components.holds && view.before.commit == view.commit {
        // What is asked is recorded with the commit of the status that it was asked for.
        let settled = view.is_probed();
        notify(
            plan,
            subject,
            Verb::Probe,
            None,
            route,
            settled,
            Cause::Spec,
        );
    }
}
