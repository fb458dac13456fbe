//! The DNSRecords of a Workspace, as they have to be.

use std::collections::BTreeSet;

use kube::ResourceExt;
use sequencer_api::dns_record::RecordType;
use sequencer_api::names::record;
use sequencer_api::{DNSRecord, labels};
use sequencer_proto::topics::Kind;
use sequencer_runtime::patch::replace;

use crate::plan::{Action, Plan, Target};
use crate::workspace::dns::{Holders, Wanted};
use crate::workspace::view::WorkspaceView;

/// Makes the records, changes what they point to, deletes those of another host.
pub(super) fn follow(plan: &mut Plan, view: &WorkspaceView) {
    let WorkspaceView {
        owned,
        holders,
        records: Wanted { records, .. },
        ..
    } = view;
    let there = |name: &str| owned.records.iter().find(|found| found.name_any() == name);
    let names: BTreeSet<_> = records.iter().map(ResourceExt::name_any).collect();
    // A host is let go only when the new one is held, and nothing of ours is reached at the old one
    // any more.
    let moved = names.iter().all(|name| there(name).is_some()) && may_let_go(view);
    let is_published = |wanted: &DNSRecord| {
        let found = there(&wanted.name_any());
        found.is_some_and(|found| found.spec.target.is_some())
    };
    let stays = |host: &str| {
        let mut records = records.iter();
        records.any(|wanted| wanted.spec.fqdn() == host && is_published(wanted))
    };

    for found in owned
        .records
        .iter()
        .filter(|found| found.metadata.deletion_timestamp.is_none())
    {
        let host = found.spec.fqdn();
        // A host that stays has a new record, which waits for the old one to go.
        let is_let_go = stays(&host) || !is_served(view, &host);
        let old = !names.contains(&found.name_any()) && moved && is_let_go;
        if old || other_type_is_older(found, holders) {
            let target = Target::of(Kind::DnsRecord, found.as_ref());
            plan.actions.push(Action::Delete(target));
        }
    }

    for wanted in records {
        let (name, mut wanted) = (wanted.name_any(), wanted.clone());
        let found = there(&name);
        // What does not answer is not published; what was, stays.
        if !view.components.holds && found.is_none_or(|found| found.spec.target.is_none()) {
            wanted.spec.target = None;
        }

        match found {
            None if holders.get(&name).is_none() && !other_type_is_older(&wanted, holders) => {
                plan.actions.push(Action::create(&wanted));
            }
            Some(found) if found.metadata.deletion_timestamp.is_some() => {}
            // It is made anew once it is gone from its old one.
            Some(found) if found.spec.provider != wanted.spec.provider => {
                let target = Target::of(Kind::DnsRecord, found.as_ref());
                plan.actions.push(Action::Delete(target));
            }
            Some(found) if found.spec != wanted.spec => plan.actions.extend(change(found, &wanted)),
            _ => {}
        }
    }
}

/// Whether records may go: those of a zone that is not granted any more hold their hosts until
/// nothing leads there.
fn may_let_go(view: &WorkspaceView) -> bool {
    view.chart.zones.grant(&view.workspace).is_ok() || !view.is_exposed()
}

/// Whether an Ingress answers at this host, or a tunnel does that an Ingress takes the place of.
fn is_served(view: &WorkspaceView, host: &str) -> bool {
    let leaves_tunnel = view.workspace.tunnel().is_none() && !view.before.tunnel.intents.is_empty();
    let mut rules = view.before.ingress.rules.iter();
    leaves_tunnel || rules.any(|rule| rule.host == host)
}

/// Whether another Workspace has a record of another address type for the same host, and had it
/// first.
fn other_type_is_older(ours: &DNSRecord, holders: &Holders) -> bool {
    let fqdn = ours.spec.fqdn();
    let age = |record: &DNSRecord| {
        (
            record
                .creation_timestamp()
                .map_or(jiff::Timestamp::MAX, |created| created.0),
            record.uid(),
        )
    };

    let workspace = |record: &DNSRecord| record.labels().get(labels::WORKSPACE_UID).cloned();
    RecordType::ADDRESSES
        .into_iter()
        .filter(|kind| *kind != ours.spec.record_type)
        .filter_map(|kind| holders.get(&record(&fqdn, kind.as_str())))
        .any(|other| workspace(other) != workspace(ours) && age(other) < age(ours))
}

fn change(found: &DNSRecord, wanted: &DNSRecord) -> Option<Action> {
    let spec = serde_json::to_value(&wanted.spec).ok()?;
    Some(Action::Patch {
        target: Target::of(Kind::DnsRecord, found),
        operations: vec![replace(&["spec"], spec)],
    })
}
