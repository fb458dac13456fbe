//! Hosts of Workspaces: how they are called, which zones the chart grants, and who holds a host.
//! Pure: the watcher reserves hosts by it, and whoever exposes one (an Ingress, a tunnel, a probe)
//! asks it again with what it read itself.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use thiserror::Error;

use crate::code::Code;
use crate::condition::Summary;
use crate::dns_record::RecordType;
use crate::names::{Owner, record};
use crate::provider::{Provider, choose};
use crate::stored::Stored as _;
use crate::workspace::Ingress;
use crate::{DNSRecord, Workspace, labels};

/// The longest host: its DNSRecord's name has the type behind it, and an object's name has at most
/// 253 characters.
const MAX_HOST: usize = 240;

/// The most characters of a user's value that a message repeats.
const SHOWN: usize = 64;

/// Something in a spec that nothing can be made from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// What is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// Refuses with this code and message.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<Refusal> for Summary {
    fn from(refusal: Refusal) -> Self {
        Self::failed(refusal.code, refusal.message)
    }
}

/// Whether a Workspace may be reached at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It holds the host, in a zone that it is granted.
    Held,
    /// Nobody holds the host yet.
    Free,
    /// It may not have it.
    Refused(Refusal),
}

impl Lock {
    /// The lock on several hosts: held if each is, and a refusal comes before one that nobody
    /// holds.
    #[must_use]
    pub fn all(locks: impl IntoIterator<Item = Self>) -> Self {
        locks
            .into_iter()
            .fold(Self::Held, |worst, lock| match (&worst, &lock) {
                (Self::Refused(_), _) | (_, Self::Held) => worst,
                _ => lock,
            })
    }
}

/// The zones of the chart, and the cluster that names hosts in them.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// The cluster's id.
    pub cluster_id: String,
    /// The chart's `dns.providers`.
    pub providers: Vec<Provider>,
}

/// How URLs begin where a spec does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// The scheme behind a tunnel.
    pub tunnel: String,
    /// Whether an Ingress is served by https.
    pub ingress_tls: bool,
}

impl Workspace {
    /// Returns the URL of the Workspace, whether or not it answers, or None if it has no networking:
    /// that of the first route that a browser can ask for, or else of the first.
    #[must_use]
    pub fn url(&self, cluster_id: &str, schemes: &Schemes) -> Option<String> {
        let host = self.host(cluster_id)?;
        let routes = self.routes();
        let web = routes.iter().find(|routed| routed.is_web());
        let first = web.or_else(|| routes.first())?;

        let scheme = first.bare_scheme().unwrap_or_else(|| self.scheme(schemes));
        let path = if web.is_none() || first.path == "/" {
            ""
        } else {
            first.path
        };
        Some(format!("{scheme}://{}{path}", first.host(&host)))
    }

    /// Returns the scheme of its URLs.
    #[must_use]
    pub fn scheme<'a>(&self, schemes: &'a Schemes) -> &'a str {
        let networking = self.spec.networking.as_ref();
        match networking.and_then(|networking| networking.ingress.as_ref()) {
            None => &schemes.tunnel,
            Some(ingress) if ingress.is_https(schemes) => "https",
            Some(_) => "http",
        }
    }

    /// The host that the Workspace is reached at, or None if it has no networking. It follows from
    /// names alone.
    #[must_use]
    pub fn host(&self, cluster_id: &str) -> Option<String> {
        let dns = &self.spec.networking.as_ref()?.dns;
        let label = dns
            .name
            .clone()
            .unwrap_or_else(|| self.generated_label(cluster_id));
        Some(format!("{label}.{}", dns.zone))
    }

    /// Every host of the Workspace: its own and those of subdomains.
    #[must_use]
    pub fn hosts(&self, cluster_id: &str) -> BTreeSet<String> {
        let Some(host) = self.host(cluster_id) else {
            return BTreeSet::new();
        };
        let routes = self.routes().into_iter();
        routes.map(|routed| routed.host(&host)).collect()
    }

    fn generated_label(&self, cluster_id: &str) -> String {
        let namespace = self.namespace_str();
        Owner::of(self).host_label(cluster_id, namespace)
    }
}

impl Ingress {
    /// Tells whether it is served by https.
    #[must_use]
    pub fn is_https(&self, schemes: &Schemes) -> bool {
        let tls = self.tls.as_ref();
        tls.map_or(schemes.ingress_tls, |tls| tls.enabled)
    }
}

/// The names of all DNSRecords that lock a host: one for each type that an address can have.
#[must_use]
pub fn locks(host: &str) -> [String; 3] {
    RecordType::ADDRESSES.map(|kind| record(host, kind.as_str()))
}

impl Zones {
    /// Returns the provider of the Workspace's zone, or None if it has no networking.
    ///
    /// # Errors
    /// The chart does not grant the zone or the name, or the host is too long.
    pub fn grant(&self, workspace: &Workspace) -> Result<Option<&Provider>, Refusal> {
        let Some(networking) = &workspace.spec.networking else {
            return Ok(None);
        };

        let dns = &networking.dns;
        let provider = self.provider(workspace, &dns.zone, dns.provider.as_deref())?;
        if dns.name.is_some() && !provider.allow_names {
            return Err(no_names(provider));
        }

        match workspace
            .hosts(&self.cluster_id)
            .into_iter()
            .find(|host| host.len() > MAX_HOST)
        {
            None => Ok(Some(provider)),
            Some(host) => Err(Refusal {
                code: Code::HostTooLong,
                message: format!(
                    "{host} has {} characters; a host has at most {MAX_HOST}",
                    host.len()
                ),
            }),
        }
    }

    /// Tells whether the Workspace may be reached at a host. `records` are those of the names that
    /// [`locks`] lists; an older one of another Workspace wins.
    pub fn lock<'a>(
        &self,
        workspace: &Workspace,
        host: &str,
        records: impl IntoIterator<Item = &'a DNSRecord>,
    ) -> Lock {
        let (ours, others): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| belongs(record, workspace));
        let standing = ours
            .into_iter()
            .filter(|record| record.metadata.deletion_timestamp.is_none());
        let ours = standing.min_by_key(|record| age(record));

        if others
            .iter()
            .any(|other| ours.is_none_or(|ours| age(other) < age(ours)))
        {
            return Lock::Refused(taken(host));
        }

        let Some(ours) = ours else { return Lock::Free };
        match self.provider(workspace, &ours.spec.zone, ours.spec.provider.as_deref()) {
            Ok(provider) if provider.allow_names || self.generated(workspace, &ours.spec.name) => {
                Lock::Held
            }
            Ok(provider) => Lock::Refused(no_names(provider)),
            Err(refusal) => Lock::Refused(refusal),
        }
    }

    /// The provider of a record of the Workspace, of which one may stand. A record never changes its
    /// provider: it keeps the one that it has as long as that is granted, and nobody names another.
    #[must_use]
    pub fn kept<'a>(
        &'a self,
        workspace: &Workspace,
        granted: &'a Provider,
        standing: Option<&DNSRecord>,
    ) -> &'a Provider {
        let networking = workspace.spec.networking.as_ref();
        let dns = networking
            .map(|networking| &networking.dns)
            .filter(|dns| dns.provider.is_none());
        let has = standing.and_then(|record| record.spec.provider.as_deref());

        dns.zip(has)
            .and_then(|(dns, has)| self.provider(workspace, &dns.zone, Some(has)).ok())
            .unwrap_or(granted)
    }

    /// Whether we chose a label, perhaps with a subdomain in front.
    fn generated(&self, workspace: &Workspace, label: &str) -> bool {
        let generated = workspace.generated_label(&self.cluster_id);
        label
            .strip_suffix(&generated)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
    }

    fn provider(
        &self,
        workspace: &Workspace,
        zone: &str,
        named: Option<&str>,
    ) -> Result<&Provider, Refusal> {
        let namespace = workspace.namespace_str();
        choose(&self.providers, zone, namespace, named).map_err(|code| not_granted(code, zone))
    }
}

/// Whether a record was made for this Workspace. Only the watcher makes records.
#[must_use]
pub fn belongs(record: &DNSRecord, workspace: &Workspace) -> bool {
    let label = |name: &str| record.labels().get(name);
    workspace.metadata.uid.is_some()
        && label(labels::WORKSPACE_UID) == workspace.metadata.uid.as_ref()
        && label(labels::WORKSPACE_NAMESPACE) == workspace.metadata.namespace.as_ref()
}

fn age(record: &DNSRecord) -> (Timestamp, Option<&str>) {
    let created = record.metadata.creation_timestamp.as_ref();
    (
        created.map_or(Timestamp::MAX, |created| created.0),
        record.metadata.uid.as_deref(),
    )
}

/// Another Workspace holds the host. Nobody learns whose it is.
#[must_use]
pub fn taken(host: &str) -> Refusal {
    let message = format!("{host} is taken: choose another networking.dns.name");
    Refusal {
        code: Code::HostTaken,
        message,
    }
}

/// No provider serves the zone for the namespace.
#[must_use]
pub fn not_granted(code: Code, zone: &str) -> Refusal {
    let shown: String = zone.chars().take(SHOWN).collect();
    let message = format!(
        "no DNS provider of the chart serves zone {shown} for this namespace: ask whoever installed Sequencer to add it \
         to dns.providers"
    );
    Refusal { code, message }
}

fn no_names(provider: &Provider) -> Refusal {
    let message = format!(
        "networking.dns.name: provider {} has no allowNames, so hosts are named by Sequencer; leave it out",
        provider.name
    );
    Refusal {
        code: Code::ZoneNotGranted,
        message,
    }
}

#[cfg(test)]
mod tests;
