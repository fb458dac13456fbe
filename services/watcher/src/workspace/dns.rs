//! The DNSRecords of a Workspace: made when what they point to answers, and never two Workspaces' of one host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use kube::ResourceExt;
use sequencer_api::dns_record::{DNSRecordSpec, RecordType};
use sequencer_api::names::{record, rule_host};
use sequencer_api::provider::{Kind as ProviderKind, choose};
use sequencer_api::status::State;
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_proto::topics::Kind;
use serde_json::json;

use super::{Chart, host, host_refusal, status};
use crate::conditions::holds;
use crate::family::Family;
use crate::plan::{Action, Plan, Target};
use crate::section::is;

/// Finds the DNSRecord of a name, whoever's it is.
pub type Taken<'a> = dyn Fn(&str) -> Option<Arc<DNSRecord>> + Sync + 'a;

/// Makes the records, changes what they point to, deletes those of another host.
pub(super) fn follow(plan: &mut Plan, workspace: &Workspace, family: &Family, chart: &Chart, taken: &Taken<'_>) {
    // Not known yet is not the same as none.
    let Some(wanted) = wanted(workspace, chart) else { return };
    let names: BTreeSet<_> = wanted.iter().map(ResourceExt::name_any).collect();
    for found in family.records.iter().filter(|found| found.metadata.deletion_timestamp.is_none()) {
        if !names.contains(&found.name_any()) || other_type_is_older(found, taken) {
            plan.actions.push(Action::Delete(Target::of(Kind::DnsRecord, found.as_ref())));
        }
    }
    // What does not answer is not published; what was, stays.
    let proven = status::components(workspace, family, &chart.limits).holds;
    for wanted in wanted {
        let name = wanted.name_any();
        match family.records.iter().find(|found| found.name_any() == name) {
            None if proven && taken(&name).is_none() && !other_type_is_older(&wanted, taken) => {
                plan.actions.push(Action::create(Kind::DnsRecord, &wanted))
            }
            Some(found) if found.spec != wanted.spec && found.metadata.deletion_timestamp.is_none() => {
                plan.actions.push(change(found, &wanted))
            }
            _ => {}
        }
    }
}

/// The records that a Workspace wants; none as long as it is not known where to point them.
pub(super) fn wanted(workspace: &Workspace, chart: &Chart) -> Option<Vec<DNSRecord>> {
    let Some(networking) = &workspace.spec.networking else { return Some(Vec::new()) };
    if host_refusal(workspace, chart).is_some() {
        return None;
    }
    let targets = targets(workspace)?;
    let provider =
        choose(&chart.providers, &networking.dns.zone, &workspace.namespace()?, networking.dns.provider.as_deref())
            .ok()?;
    let tunnel = networking.tunnel.is_some();
    let proxied = tunnel && matches!(provider.kind, ProviderKind::Cloudflare(_));
    let mut records = Vec::new();
    for host in hosts(workspace, chart) {
        for (record_type, target) in &targets {
            let label = host.strip_suffix(&format!(".{}", networking.dns.zone))?.to_owned();
            let spec = DNSRecordSpec {
                zone: networking.dns.zone.clone(),
                name: label,
                record_type: *record_type,
                provider: Some(provider.name.clone()),
                target: target.clone(),
                ttl: Some(chart.dns_ttl),
                properties: if proxied { BTreeMap::from([("proxied".into(), "true".into())]) } else { BTreeMap::new() },
            };
            records.push(object(workspace, chart, &host, spec));
        }
    }
    Some(records)
}

/// Every host: the Workspace's own and those of subdomains.
fn hosts(workspace: &Workspace, chart: &Chart) -> BTreeSet<String> {
    let Some((networking, host)) = workspace.spec.networking.as_ref().zip(host(workspace, chart)) else {
        return BTreeSet::new();
    };
    let rules = networking.ingress.iter().flat_map(|ingress| &ingress.rules).map(|rule| rule.subdomain.as_deref());
    let tunnel = networking.tunnel.iter().flat_map(|tunnel| &tunnel.cloudflare);
    let routes = tunnel.flat_map(|tunnel| {
        [None].into_iter().chain(tunnel.additional_routes.iter().map(|route| Some(route.subdomain.as_str())))
    });
    rules.chain(routes).map(|subdomain| rule_host(subdomain, &host)).collect()
}

/// What hosts point to: the tunnel, or the addresses of the ingress.
fn targets(workspace: &Workspace) -> Option<Vec<(RecordType, String)>> {
    let status = workspace.status.as_ref()?;
    let generation = workspace.metadata.generation.unwrap_or_default();
    if workspace.spec.networking.as_ref()?.tunnel.is_some() {
        let connected = is(&status.tunnel.section, State::Completed, generation);
        let hostname = status.tunnel.hostname.clone().filter(|_| connected)?;
        return Some(vec![(RecordType::Cname, hostname)]);
    }
    if !is(&status.ingress.section, State::Completed, generation) {
        return None;
    }
    let names = status.ingress.addresses.iter().find_map(|address| address.hostname.clone());
    // A name cannot stand beside addresses (RFC 1034, 3.6.2).
    if let Some(name) = names {
        return Some(vec![(RecordType::Cname, name)]);
    }
    let ips = status.ingress.addresses.iter().filter_map(|address| address.ip.as_deref()?.parse::<IpAddr>().ok());
    let mut first: BTreeMap<&str, (RecordType, String)> = BTreeMap::new();
    for ip in ips {
        let (word, kind) = if ip.is_ipv4() { ("A", RecordType::A) } else { ("AAAA", RecordType::Aaaa) };
        first.entry(word).or_insert((kind, ip.to_string()));
    }
    Some(first.into_values().collect()).filter(|targets: &Vec<_>| !targets.is_empty())
}

fn object(workspace: &Workspace, chart: &Chart, fqdn: &str, spec: DNSRecordSpec) -> DNSRecord {
    let kind = word(spec.record_type);
    let mut made = DNSRecord::new(&record(fqdn, kind), spec);
    let (name, uid) = (workspace.name_any(), workspace.uid().unwrap_or_default());
    let namespace = workspace.namespace().unwrap_or_default();
    let pairs = [
        (labels::MANAGED_BY, labels::SEQUENCER),
        (labels::PART_OF, &name),
        (labels::WORKSPACE, &name),
        (labels::WORKSPACE_NAMESPACE, &namespace),
        (labels::WORKSPACE_UID, &uid),
    ];
    made.metadata.labels = Some(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect());
    made.metadata.finalizers = Some(vec![labels::RECORD_FINALIZER.into()]);
    made.metadata.namespace = Some(chart.namespace.clone());
    made
}

fn word(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::Aaaa => "AAAA",
        RecordType::Cname => "CNAME",
        RecordType::Txt => "TXT",
    }
}

/// Whether another Workspace has a record of another address type for the same host, and had it first.
fn other_type_is_older(ours: &DNSRecord, taken: &Taken<'_>) -> bool {
    let fqdn = format!("{}.{}", ours.spec.name, ours.spec.zone);
    let age = |record: &DNSRecord| {
        (record.creation_timestamp().map_or(jiff::Timestamp::MAX, |created| created.0), record.uid())
    };
    let workspace = |record: &DNSRecord| record.labels().get(labels::WORKSPACE_UID).cloned();
    [RecordType::A, RecordType::Aaaa, RecordType::Cname]
        .into_iter()
        .filter(|kind| *kind != ours.spec.record_type)
        .filter_map(|kind| taken(&record(&fqdn, word(kind))))
        .any(|other| workspace(&other) != workspace(ours) && age(&other) < age(ours))
}

/// Whether somebody else has one of the hosts.
pub(super) fn is_taken(workspace: &Workspace, chart: &Chart, taken: &Taken<'_>) -> Option<String> {
    let uid = workspace.uid();
    let others = |record: &DNSRecord| record.labels().get(labels::WORKSPACE_UID).cloned() != uid;
    wanted(workspace, chart)?.iter().find_map(|wanted| {
        let other = taken(&wanted.name_any()).is_some_and(|found| others(&found));
        (other || other_type_is_older(wanted, taken)).then(|| format!("{}.{}", wanted.spec.name, wanted.spec.zone))
    })
}

/// Whether a wanted record is answered by every authoritative server.
pub(super) fn answers(wanted: &DNSRecord, family: &Family) -> bool {
    found(wanted, family).is_some_and(|found| {
        let conditions = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
        found.spec == wanted.spec && holds(conditions, "Ready", found.metadata.generation.unwrap_or_default())
    })
}

/// The record that is there.
pub(super) fn found<'a>(wanted: &DNSRecord, family: &'a Family) -> Option<&'a DNSRecord> {
    family.records.iter().map(AsRef::as_ref).find(|found| found.name_any() == wanted.name_any())
}

fn change(found: &DNSRecord, wanted: &DNSRecord) -> Action {
    let operations = json!([{"op": "replace", "path": "/spec", "value": wanted.spec}]);
    Action::Patch { target: Target::of(Kind::DnsRecord, found), operations }
}
