//! Acting at a provider: which one, with which credential, and how what is wanted comes about.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use sequencer_api::provider::{Kind, Provider as Chosen, choose};
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_runtime::section::SecretReader;
use tracing::info;

use super::answers::{self, Server as Authority};
use super::cloudflare::{self as zones, Zones};
use super::{Provider, Seen, Step, Wanted, noted, owned, plan, rfc2136};
use crate::cloudflare::{Cloudflare, HOST};
use crate::error::Error;
use crate::mark::Mark;
use crate::patience::poll;
use crate::service::{Service, credential};

/// How long the handler itself waits for the name servers, before it leaves that to the next
/// message.
const PATIENCE: Duration = Duration::from_secs(3);

/// The wait between two checks meanwhile.
const PAUSE: Duration = Duration::from_millis(300);

/// Where Cloudflare's tunnels are: only its edge knows these names.
const TUNNELS: &str = ".cfargotunnel.com";

impl Service {
    /// Makes it so at the provider. Returns what is there then.
    pub(super) async fn make(
        &self,
        secrets: &SecretReader,
        chosen: &Chosen,
        wanted: &Wanted,
    ) -> Result<Seen, Error> {
        match self.connect(secrets, chosen).await? {
            Connected::Cloudflare(zones) => self.settle(&zones, wanted).await,
            Connected::Rfc2136(server) => self.settle(&server, wanted).await,
            Connected::Nothing => Ok(Seen::default()),
        }
    }

    /// Whether it is so at the provider.
    pub(super) async fn stands(
        &self,
        secrets: &SecretReader,
        chosen: &Chosen,
        wanted: &Wanted,
    ) -> Result<bool, Error> {
        let seen = match self.connect(secrets, chosen).await? {
            Connected::Cloudflare(zones) => zones.observe(wanted).await?,
            Connected::Rfc2136(server) => server.observe(wanted).await?,
            Connected::Nothing => return Ok(true),
        };
        Ok(plan(wanted, &seen, &BTreeSet::new()) == Step::Keep)
    }

    /// What the authoritative servers answer, after some seconds at most.
    pub(super) async fn answers(&self, chosen: &Chosen, wanted: &Wanted) -> Result<Answers, Error> {
        let servers = match &chosen.kind {
            Kind::Rfc2136(server) => vec![authority(rfc2136::resolve(&server.nameserver).await?)],
            _ => answers::of_zone(&wanted.zone, self.resolver).await?,
        };

        let ask = || answers::silent(wanted, &servers);
        let will_do = |silent: &usize| *silent == 0 && !servers.is_empty();
        let silent = poll(PATIENCE, PAUSE, ask, will_do).await;

        if will_do(&silent) {
            return Ok(Answers::Complete(servers));
        }

        let all = servers.len();
        Ok(Answers::Missing { silent, all })
    }

    async fn settle<P: Provider>(&self, provider: &P, wanted: &Wanted) -> Result<Seen, Error> {
        let seen = provider.observe(wanted).await?;
        let step = match plan(wanted, &seen, &BTreeSet::new()) {
            Step::Ask(owners) => plan(wanted, &seen, &self.gone(owners).await?),
            step => step,
        };

        match step {
            Step::Keep => return Ok(seen),
            Step::Foreign | Step::Ask(_) => return Err(Error::Foreign(wanted.fqdn.clone())),
            Step::Occupied => return Err(Error::Occupied(wanted.fqdn.clone())),
            Step::Put(replaced) => provider.put(wanted, &seen, &replaced).await?,
        }

        info!(
            host = wanted.fqdn,
            kind = wanted.kind.as_str(),
            "Published record"
        );

        let seen = provider.observe(wanted).await?;
        if plan(wanted, &seen, &BTreeSet::new()) == Step::Keep {
            Ok(seen)
        } else {
            Err(Error::Changed)
        }
    }

    /// Those of these owners that are neither a Workspace nor a DNSRecord any more, by quorum
    /// reads.
    async fn gone(&self, mut owners: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let failed = |error| Error::Cluster("list the owners of records", error);
        let workspaces: Api<Workspace> = Api::all(self.client.clone());
        let records: Api<DNSRecord> =
            Api::namespaced(self.client.clone(), &self.args.hosts.namespace);
        let workspaces = workspaces
            .list_metadata(&ListParams::default())
            .await
            .map_err(failed)?;
        let records = records
            .list_metadata(&ListParams::default())
            .await
            .map_err(failed)?;

        for uid in workspaces
            .items
            .iter()
            .map(|one| &one.metadata)
            .chain(records.items.iter().map(|one| &one.metadata))
        {
            owners.remove(uid.uid.as_deref().unwrap_or_default());
        }

        Ok(owners)
    }

    pub(super) async fn unmake(
        &self,
        secrets: &SecretReader,
        chosen: &Chosen,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        match self.connect(secrets, chosen).await? {
            Connected::Cloudflare(zones) => remove(&zones, wanted).await,
            Connected::Rfc2136(server) => remove(&server, wanted).await,
            Connected::Nothing => Ok(()),
        }
    }

    /// The provider that serves the record for the Workspace's namespace, asked again at every act.
    pub(super) fn chosen(&self, record: &DNSRecord) -> Result<&Chosen, Error> {
        let namespace = record
            .labels()
            .get(labels::WORKSPACE_NAMESPACE)
            .map_or(&*self.args.hosts.namespace, |name| name);
        choose(
            &self.hosts.zones.providers,
            &record.spec.zone,
            namespace,
            record.spec.provider.as_deref(),
        )
        .map_err(|_code| Error::NotGranted {
            zone: record.spec.zone.clone(),
            namespace: namespace.into(),
        })
    }

    /// The provider that it was made at, whether or not that is still granted.
    pub(super) fn acted(
        &self,
        section: &RecordSection,
        record: &DNSRecord,
    ) -> Result<&Chosen, Error> {
        let named = section
            .provider
            .as_deref()
            .or(record.spec.provider.as_deref());
        let found = self
            .hosts
            .zones
            .providers
            .iter()
            .find(|provider| Some(provider.name.as_str()) == named);
        found.map_or_else(|| self.chosen(record), Ok)
    }

    pub(super) fn wanted(&self, record: &DNSRecord, chosen: &Chosen) -> Wanted {
        let spec = &record.spec;
        let fqdn = spec.fqdn();
        let cloudflare = matches!(chosen.kind, Kind::Cloudflare(_));
        let target = spec
            .target
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('.');
        let tunnel = target.ends_with(TUNNELS);
        let proxied = spec
            .properties
            .get("proxied")
            .map_or(tunnel, |value| value == "true");
        let ttl = spec
            .ttl
            .and_then(|ttl| u32::try_from(ttl).ok())
            .unwrap_or(self.args.dns_ttl);
        let owner = record
            .labels()
            .get(labels::WORKSPACE_UID)
            .cloned()
            .or_else(|| record.uid())
            .unwrap_or_default();

        Wanted {
            zone: chosen.zone_of(&spec.zone).unwrap_or(&spec.zone).into(),
            kind: spec.record_type,
            target: target.into(),
            ttl: if cloudflare {
                ttl.max(zones::SHORTEST)
            } else {
                ttl
            },
            proxied: cloudflare && proxied,
            mark: Mark {
                cluster: self.args.hosts.cluster_id.clone(),
                owner,
            },
            fqdn,
        }
    }

    async fn connect(&self, secrets: &SecretReader, chosen: &Chosen) -> Result<Connected, Error> {
        match &chosen.kind {
            Kind::Cloudflare(cloudflare) => {
                let key = &cloudflare.api_token_secret_ref;
                let token = credential(secrets, key, HOST).await?;
                let api = Cloudflare::new(self.http.clone(), &self.args.cloudflare_url, token);
                Ok(Connected::Cloudflare(Zones::new(api, self.args.quarantine)))
            }
            Kind::Rfc2136(server) => {
                let host = server
                    .nameserver
                    .rsplit_once(':')
                    .map_or(&*server.nameserver, |(host, _)| host);
                let key = credential(secrets, &server.tsig_secret_secret_ref, host).await?;

                Ok(Connected::Rfc2136(
                    rfc2136::Server::new(server, &key).await?,
                ))
            }
            Kind::Wildcard => Ok(Connected::Nothing),
        }
    }
}

/// What the authoritative servers of a zone say of a record.
pub(super) enum Answers {
    /// All of these answer with it.
    Complete(Vec<Authority>),
    /// Some do not yet.
    Missing { silent: usize, all: usize },
}

/// A provider with its credential.
enum Connected {
    Cloudflare(Zones),
    Rfc2136(rfc2136::Server),
    Nothing,
}

/// Deletes what is ours, and checks that it is gone.
async fn remove<P: Provider>(provider: &P, wanted: &Wanted) -> Result<(), Error> {
    let ours = |seen: &Seen| {
        (
            owned(wanted, seen),
            seen.records.is_empty() && noted(wanted, seen),
        )
    };

    let seen = provider.observe(wanted).await?;
    let (records, mark) = ours(&seen);
    if records.is_empty() && !mark {
        return Ok(());
    }

    provider.delete(wanted, &seen, &records).await?;
    info!(
        host = wanted.fqdn,
        kind = wanted.kind.as_str(),
        "Deleted record"
    );

    match ours(&provider.observe(wanted).await?) {
        (records, false) if records.is_empty() => Ok(()),
        _ => Err(Error::Changed),
    }
}

fn authority(address: SocketAddr) -> Authority {
    Authority {
        name: address.ip().to_string(),
        address: Some(address),
    }
}
