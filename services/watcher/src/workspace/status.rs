//! The watcher's part of a Workspace's status, from what is known of it.

use sequencer_api::condition::{
    ConditionType, Reason, Status, Summary, code, find, holds, holds_for,
};
use sequencer_api::host::Lock;
use sequencer_api::labels::commit12;
use sequencer_api::status::State;
use sequencer_api::status::workspace::{ComponentLine, WorkspacePhase, WorkspaceStatus};
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::Kind;

use super::children::Child;
use super::view::WorkspaceView;
use super::{dns, expiry, teardown, timings};
use crate::conditions::{Conditions, Verdict, advice, as_reported, while_serving, wrong};
use crate::record;

/// The status as it has to be.
pub(super) fn status(view: &WorkspaceView) -> WorkspaceStatus {
    let WorkspaceView {
        workspace,
        before,
        subject,
        chart,
        commit,
        ..
    } = view;
    let commit = commit.as_deref();
    let summaries = summaries(view);
    let good = summaries.iter().all(|(_, summary)| summary.holds);
    // Where it may not be it is not; what an earlier spec named, and still stands, goes on.
    let refused = matches!(view.lock, Lock::Refused(_));
    let shown = workspace.spec.networking.is_some() && (!refused || view.is_exposed());
    let url = view.url.clone().filter(|_| good);
    let url = url.or_else(|| before.url.clone()).filter(|_| shown);
    let host = if refused {
        before.host.clone().filter(|_| shown)
    } else {
        workspace.host(&chart.zones.cluster_id)
    };

    let available = available(view, url.as_deref());
    let verdict = Verdict::of(&summaries, looked_at(view));
    let ready = ready(view, verdict, &available, url.as_deref());
    let mut conditions = Conditions::new(&before.conditions, subject.generation, subject.now);

    for (kind, summary) in &summaries {
        conditions.add(*kind, summary);
    }

    conditions.add(ConditionType::Available, &available);
    let limits = &chart.limits;
    let ttl_ends_at = expiry::ttl_ends_at(workspace, limits, before, commit, subject.now);
    let expires_at = expiry::expires_at(workspace, limits, ttl_ends_at.as_ref());
    let expiring = expiry::expiring(workspace, limits, expires_at.as_ref(), subject.now);
    if let Some(expiring) = expiring {
        conditions.add(ConditionType::Expiring, &expiring);
    }

    if let Some(blocked) = teardown::blocked(view) {
        conditions.add(ConditionType::TeardownBlocked, &blocked);
    }

    let stalled = advice(&ready, "ws", workspace.as_ref());
    let conditions = conditions.finish(&ready, verdict.retried, workspace.spec.paused, &stalled);

    let lines: Vec<_> = view.children.iter().map(line).collect();

    WorkspaceStatus {
        observed_generation: subject.generation,
        phase: phase(&ready, view.is_terminating()),
        timings: timings::timings(workspace, &view.owned, &before.timings, &conditions),
        conditions,
        host,
        url,
        expires_at,
        ttl_ends_at,
        commit: view.commit.clone(),
        components_ready: Some(count(&lines)),
        components: lines,
        teardown: teardown::status(view),
        ..before.clone()
    }
}

/// What is probed again and again of a Workspace that serves this spec and this commit.
fn looked_at(view: &WorkspaceView) -> &'static [ConditionType] {
    let (before, generation) = (&view.before, view.subject.generation);
    let served = holds_for(&before.conditions, ConditionType::Ready, generation);

    if served && before.commit == view.commit {
        &[
            ConditionType::Tunnel,
            ConditionType::Ingress,
            ConditionType::Dns,
            ConditionType::Route,
        ]
    } else {
        &[]
    }
}

/// The summaries in the order of the work.
fn summaries(view: &WorkspaceView) -> Vec<(ConditionType, Summary)> {
    let mut summaries = vec![(ConditionType::Components, view.components.clone())];
    let Some(networking) = &view.workspace.spec.networking else {
        return summaries;
    };

    let refused = match &view.lock {
        Lock::Refused(refusal) => Some(Summary::from(refusal.clone())),
        Lock::Held | Lock::Free => None,
    };

    let or =
        |summary: fn(&WorkspaceView) -> Summary| refused.clone().unwrap_or_else(|| summary(view));

    summaries.push(if networking.tunnel.is_some() {
        (ConditionType::Tunnel, or(tunnel))
    } else {
        (ConditionType::Ingress, or(ingress))
    });
    summaries.push((ConditionType::Dns, or(dns_summary)));
    let before_it = summaries.iter().all(|(_, summary)| summary.holds);
    summaries.push((ConditionType::Route, route(view, before_it)));
    summaries
}

fn tunnel(view: &WorkspaceView) -> Summary {
    let (section, generation) = (&view.before.tunnel, view.subject.generation);
    let id = section
        .id
        .as_deref()
        .map_or("", |id| id.get(..8).unwrap_or(id));

    if section.section.is(State::Completed, generation) {
        return Summary::yes(Reason::Completed, format!("tunnel {id} connected"));
    }

    wrong(&section.section, None, generation, view.subject.now).unwrap_or_else(|| {
        let message = if id.is_empty() {
            "creating the tunnel".into()
        } else {
            format!("waiting for tunnel {id} to connect")
        };
        Summary::no(Reason::InProgress, message)
    })
}

fn ingress(view: &WorkspaceView) -> Summary {
    let (section, generation) = (&view.before.ingress, view.subject.generation);
    if section.section.is(State::Completed, generation) {
        let addresses = section
            .addresses
            .iter()
            .filter_map(|address| address.ip.as_deref().or(address.hostname.as_deref()));
        let message = format!("reached at {}", addresses.collect::<Vec<_>>().join(", "));
        return Summary::yes(Reason::Completed, message);
    }

    wrong(&section.section, None, generation, view.subject.now).unwrap_or_else(|| {
        let message = if section.name.is_some() {
            "waiting for an address of the Ingress"
        } else {
            "creating the Ingress"
        };
        Summary::no(Reason::InProgress, message)
    })
}

fn dns_summary(view: &WorkspaceView) -> Summary {
    let mut denied = view.owned.denied(view.workspace.as_ref()).iter();
    if let Some(denied) = denied.find(|denied| denied.is_of(Kind::DnsRecord)) {
        return denied.summary(view.subject.now);
    }

    if !view.records.known {
        let networking = view.workspace.spec.networking.as_ref();
        let tunnel = networking.is_some_and(|networking| networking.tunnel.is_some());
        let exposure = if tunnel { "tunnel" } else { "Ingress" };
        return Summary::no(Reason::Waiting, format!("waiting for the {exposure}"));
    }
    let records = view.records.records.iter();
    let summaries: Vec<_> = records.map(|wanted| record_summary(wanted, view)).collect();
    let worst = Summary::worst(&summaries).cloned();
    worst.unwrap_or_else(|| Summary::yes(Reason::Completed, ""))
}

fn record_summary(wanted: &sequencer_api::DNSRecord, view: &WorkspaceView) -> Summary {
    let found = dns::found(wanted, &view.owned).filter(|found| found.spec.target.is_some());
    let Some(found) = found else {
        return Summary::no(Reason::Waiting, "waiting for the components");
    };

    let creating = Summary::no(Reason::InProgress, "creating the record");
    if found.spec != wanted.spec {
        return creating;
    }

    let conditions = found
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let ready = record::ready(found, &view.chart.zones.providers, view.subject.now);
    as_reported(ready, conditions, found.generation(), creating)
}

fn route(view: &WorkspaceView, before_it: bool) -> Summary {
    let section = &view.before.route;

    if view.is_probed() {
        let rule = section.rules.first();
        let code = rule.and_then(|rule| rule.http_status).unwrap_or_default();
        let url = rule.map_or("", |rule| rule.url.as_str());
        let message = if url.starts_with("http") {
            format!("GET {url} returned {code}")
        } else {
            format!("{url} takes connections")
        };
        return Summary::yes(Reason::Healthy, message);
    }

    let failure = section.rules.iter().find_map(|rule| rule.failure.as_ref());
    let (generation, now) = (view.subject.generation, view.subject.now);
    match wrong(&section.section, failure, generation, now) {
        Some(wrong) => wrong,
        None if before_it => Summary::no(Reason::InProgress, "probing"),
        None => Summary::no(Reason::Waiting, "waiting for DNS"),
    }
}

/// Some version serves at the URL.
fn available(view: &WorkspaceView, url: Option<&str>) -> Summary {
    let up = |child: &Child| {
        child
            .found
            .as_ref()
            .is_some_and(|found| holds(&found.before.conditions, ConditionType::Available))
    };

    let reached = url.is_some() || view.workspace.spec.networking.is_none();
    if reached && view.children.iter().all(up) {
        let serves = |commit| format!("{commit} serves");
        let message = view.commit.as_deref().map(serves).unwrap_or_default();
        return Summary::yes(Reason::Healthy, message);
    }

    let failed = view.children.iter().find_map(|child| {
        let conditions = &child.found.as_ref()?.before.conditions;
        let code = find(conditions, ConditionType::Available).and_then(code)?;
        let message = format!("{}: no version of it runs", child.name);
        Some(Summary::failed(code, message))
    });
    failed.unwrap_or_else(|| Summary::no(Reason::InProgress, "first roll-out"))
}

fn ready(
    view: &WorkspaceView,
    verdict: Verdict<'_>,
    available: &Summary,
    url: Option<&str>,
) -> Summary {
    if view.is_terminating() {
        return Summary::no(Reason::Terminating, "being deleted");
    }

    let commit = view.commit.as_deref();
    let Some(bad) = verdict.wrong else {
        let what = commit.unwrap_or("it");
        let message = url.map_or_else(
            || "every component is ready".into(),
            |url| format!("{what} serves at {url}"),
        );
        return Summary::yes(Reason::Healthy, message);
    };

    let goes_on = matches!(bad.reason, Reason::Waiting | Reason::InProgress);
    let reason = if view.workspace.spec.paused && goes_on {
        Reason::Paused
    } else {
        bad.reason
    };

    let ready = Summary {
        reason,
        ..bad.clone()
    };

    while_serving(ready, commit.filter(|_| available.holds))
}

fn line(child: &Child) -> ComponentLine {
    let found = child.found.as_ref();
    let serving = found.and_then(|found| found.serving());
    let ready = while_serving(child.reported.clone(), serving);
    let deploy = found.map(|found| &found.before.deploy);
    let status = if ready.holds {
        Status::True
    } else {
        Status::False
    };

    ComponentLine {
        name: child.name.clone(),
        ready: status,
        reason: ready.reason,
        message: Some(ready.text()).filter(|message| !message.is_empty()),
        commit: deploy
            .and_then(|deploy| deploy.commit.as_deref())
            .map(|commit| commit12(commit).into()),
        image: deploy
            .and_then(|deploy| deploy.images.first())
            .map(|image| image.image.clone()),
    }
}

/// `<ready>/<all>`
fn count(lines: &[ComponentLine]) -> String {
    let ready = lines.iter().filter(|line| line.ready == Status::True);
    format!("{}/{}", ready.count(), lines.len())
}

fn phase(ready: &Summary, terminating: bool) -> WorkspacePhase {
    match ready.reason {
        _ if terminating => WorkspacePhase::Terminating,
        _ if ready.holds => WorkspacePhase::Healthy,
        Reason::Code(_) if !ready.retried => WorkspacePhase::Error,
        _ => WorkspacePhase::Deploying,
    }
}

#[cfg(test)]
mod tests;
