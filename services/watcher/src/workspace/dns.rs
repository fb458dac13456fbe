//! The DNSRecords of a Workspace: made when what they point to answers, and never two Workspaces'
//! of one host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use kube::ResourceExt;
use sequencer_api::condition::{ConditionType, holds_for};
use sequencer_api::dns_record::{DNSRecordSpec, RecordType};
use sequencer_api::host::{Lock, locks};
use sequencer_api::names::{Owner, record};
use sequencer_api::provider::Kind as ProviderKind;
use sequencer_api::status::State;
use sequencer_api::stored::Stored as _;
use sequencer_api::{DNSRecord, Workspace, labels};

use crate::chart::Chart;
use crate::owned::Owned;

/// Who has the names of the records of a Workspace's hosts, whoever it is.
pub(super) struct Holders(BTreeMap<String, Arc<DNSRecord>>);

impl Holders {
    pub(super) fn new(
        workspace: &Workspace,
        owned: &Owned,
        chart: &Chart,
        holder: &dyn Fn(&str) -> Option<Arc<DNSRecord>>,
    ) -> Self {
        let standing = owned.records.iter().map(|record| record.spec.fqdn());
        let hosts = workspace.hosts(&chart.zones.cluster_id);
        let names = hosts
            .into_iter()
            .chain(standing)
            .flat_map(|host| locks(&host));

        Self(
            names
                .filter_map(|name| Some((name.clone(), holder(&name)?)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&DNSRecord> {
        self.0.get(name).map(AsRef::as_ref)
    }
}

/// The records that a Workspace shall have.
pub(super) struct Wanted {
    pub(super) records: Vec<DNSRecord>,
    /// Whether it is known where the hosts point; else the records only hold them.
    pub(super) known: bool,
}

/// Whether the Workspace may be reached at its hosts, as far as the records are known here.
pub(super) fn lock(workspace: &Workspace, chart: &Chart, holders: &Holders) -> Lock {
    if let Err(refusal) = chart.zones.grant(workspace) {
        return Lock::Refused(refusal);
    }
    Lock::all(workspace.hosts(&chart.zones.cluster_id).iter().map(|host| {
        let names = locks(host);
        let records = names.iter().filter_map(|name| holders.get(name));
        chart.zones.lock(workspace, host, records)
    }))
}

/// The records that a Workspace shall have: where its hosts point, or as long as that is not known,
/// what holds them.
pub(super) fn wanted(workspace: &Workspace, owned: &Owned, chart: &Chart) -> Wanted {
    let none = Wanted {
        records: Vec::new(),
        known: workspace.spec.networking.is_none(),
    };

    let Some(networking) = &workspace.spec.networking else {
        return none;
    };

    let Ok(Some(provider)) = chart.zones.grant(workspace) else {
        return none;
    };

    let tunnel = networking.tunnel.is_some();
    let targets = targets(workspace);
    let known = targets.is_some();
    let make = |host: &str, record_type: RecordType, target: Option<String>| {
        let mut standing = owned.records.iter().map(AsRef::as_ref);
        let standing = standing.find(|found: &&DNSRecord| {
            found.spec.record_type == record_type && found.spec.fqdn() == host
        });
        let provider = chart.zones.kept(workspace, provider, standing);
        let proxied = tunnel && matches!(provider.kind, ProviderKind::Cloudflare(_));
        let spec = DNSRecordSpec {
            zone: networking.dns.zone.clone(),
            name: host
                .strip_suffix(&format!(".{}", networking.dns.zone))?
                .to_owned(),
            record_type,
            provider: Some(provider.name.clone()),
            target,
            ttl: Some(chart.dns_ttl),
            properties: if proxied {
                BTreeMap::from([("proxied".into(), "true".into())])
            } else {
                BTreeMap::new()
            },
        };
        Some(object(workspace, chart, host, spec))
    };

    let hosts = workspace.hosts(&chart.zones.cluster_id);
    let records = hosts.iter().flat_map(|host| -> Vec<Option<DNSRecord>> {
        if let Some(targets) = &targets {
            return targets
                .iter()
                .map(|(kind, target)| make(host, *kind, Some(target.clone())))
                .collect();
        }
        let standing = owned.records.iter().filter(|found| {
            found.metadata.deletion_timestamp.is_none() && found.spec.fqdn() == **host
        });
        let standing: Vec<_> = standing
            .map(|found| make(host, found.spec.record_type, found.spec.target.clone()))
            .collect();
        if !standing.is_empty() {
            return standing;
        }
        // A tunnel has a name, and a load balancer mostly an address: another type than this one is
        // made beside it first.
        vec![make(
            host,
            if tunnel {
                RecordType::Cname
            } else {
                RecordType::A
            },
            None,
        )]
    });

    Wanted {
        records: records.flatten().collect(),
        known,
    }
}

/// What hosts point to: the tunnel, or the addresses of the ingress.
fn targets(workspace: &Workspace) -> Option<Vec<(RecordType, String)>> {
    let status = workspace.status.as_ref()?;
    let generation = workspace.generation();

    if workspace.spec.networking.as_ref()?.tunnel.is_some() {
        let connected = status.tunnel.section.is(State::Completed, generation);
        let hostname = status.tunnel.hostname.clone().filter(|_| connected)?;
        return Some(vec![(RecordType::Cname, hostname)]);
    }

    if !status.ingress.section.is(State::Completed, generation) {
        return None;
    }

    let names = status
        .ingress
        .addresses
        .iter()
        .find_map(|address| address.hostname.clone());
    // A name cannot stand beside addresses (RFC 1034, 3.6.2).
    if let Some(name) = names {
        return Some(vec![(RecordType::Cname, name)]);
    }

    let ips = status
        .ingress
        .addresses
        .iter()
        .filter_map(|address| address.ip.as_deref()?.parse::<IpAddr>().ok());
    let mut first: BTreeMap<&str, (RecordType, String)> = BTreeMap::new();

    for ip in ips {
        let (word, kind) = if ip.is_ipv4() {
            ("A", RecordType::A)
        } else {
            ("AAAA", RecordType::Aaaa)
        };
        first.entry(word).or_insert((kind, ip.to_string()));
    }

    Some(first.into_values().collect()).filter(|targets: &Vec<_>| !targets.is_empty())
}

fn object(workspace: &Workspace, chart: &Chart, fqdn: &str, spec: DNSRecordSpec) -> DNSRecord {
    let mut made = DNSRecord::new(&record(fqdn, spec.record_type.as_str()), spec);
    made.metadata.labels = Some(labels::made_for(
        Owner::of(workspace),
        workspace.namespace_str(),
    ));
    made.metadata.finalizers = Some(vec![labels::RECORD_FINALIZER.into()]);
    made.metadata.namespace = Some(chart.namespace.clone());
    made
}

/// Whether a wanted record is answered by every authoritative server.
pub(super) fn answers(wanted: &DNSRecord, owned: &Owned) -> bool {
    found(wanted, owned).is_some_and(|found| {
        let conditions = found
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.conditions);
        found.spec == wanted.spec && holds_for(conditions, ConditionType::Ready, found.generation())
    })
}

/// The record that is there.
pub(super) fn found<'a>(wanted: &DNSRecord, owned: &'a Owned) -> Option<&'a DNSRecord> {
    owned
        .records
        .iter()
        .map(AsRef::as_ref)
        .find(|found| found.name_any() == wanted.name_any())
}
