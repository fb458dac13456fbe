//! The verb `dns`: a DNSRecord and its record at the provider.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use secrecy::SecretString;
use sequencer_api::provider::{Kind, Provider as Chosen, choose};
use sequencer_api::secret::{SecretKeyRef, SecretRef};
use sequencer_api::status::State;
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::{DNSRecord, Workspace};
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::Verdict;
use sequencer_runtime::cluster::{StatusPatch, current};
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::answers::{self, Server as Authority};
use super::{Provider, Seen, Step, Wanted, noted, owned, plan, rfc2136, word};
use crate::cloudflare::Cloudflare;
use crate::dns::cloudflare::{self as zones, Zones};
use crate::error::Error;
use crate::handle::{Broken, Look, Service, told};
use crate::mark::Mark;

/// The finalizer that stands on every DNSRecord as long as its record may exist.
pub const FINALIZER: &str = "se.quencer.io/dns";
/// The section.
const SECTION: &str = "record";
/// How long the handler itself waits for the name servers, before it leaves that to the next wake-up.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(300);
/// Where Cloudflare's tunnels are: only its edge knows these names.
const TUNNELS: &str = ".cfargotunnel.com";

/// One DNSRecord under way.
struct Task {
    uid: String,
    name: String,
    generation: i64,
    deleting: bool,
    section: RecordSection,
    /// The Secrets that were read, with their versions.
    credential: BTreeMap<String, String>,
}

impl Service {
    /// Makes a DNSRecord's record so, or deletes it.
    pub(crate) async fn dns(&self, delivery: &Delivery) -> Result<Outcome, Broken> {
        let api: Api<DNSRecord> = Api::namespaced(self.client.clone(), &self.args.namespace);
        let uid = delivery.command.uid().to_string();
        let Some(record) = current(&api, &delivery.wake.name, &uid).await? else { return Ok(Outcome::Gone) };
        let mut task = Task::new(&record, uid);
        if !record.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Outcome::Stale);
        }
        let look = Look { generation: task.generation, deleting: task.deleting, why: &delivery.wake.why };
        if !self.is_time(&task.section.section, look, &self.args.namespace).await {
            return Ok(Outcome::Done);
        }
        if task.deleting && task.section.provider.is_none() {
            // Before the first act its provider is written down: nothing was ever made.
            return self.record_gone(&api, task).await;
        }
        match self.claim(&task.section.section) {
            Verdict::Elsewhere(_) => return Ok(Outcome::ClaimedElsewhere),
            Verdict::Poison => {
                let error = Error::Poison(self.args.shared.periods.poison_retry);
                return self.record_failure(&api, task, &error).await;
            }
            Verdict::Take(claim) => task.section.section.claim = Some(claim),
        }
        if task.deleting {
            self.delete_record(&api, task, &record).await
        } else {
            self.make_record(&api, task, &record).await
        }
    }

    async fn make_record(&self, api: &Api<DNSRecord>, mut task: Task, record: &DNSRecord) -> Result<Outcome, Broken> {
        let chosen = match self.chosen(record) {
            Ok(chosen) => chosen,
            Err(error) => return self.record_failure(api, task, &error).await,
        };
        let wanted = self.wanted(record, chosen);
        task.intend(&wanted, chosen);
        if chosen.kind == Kind::Wildcard {
            return self.record_done(api, task, &[]).await;
        }
        task.write(api).await?;
        let made = timeout(self.deadline(), self.make(&mut task, chosen, &wanted)).await;
        let made = made.unwrap_or_else(|_elapsed| Err(Error::Unknown("the provider", self.args.quarantine)));
        // Deleted meanwhile? What was made goes again, now: nobody may come back to it.
        let after = current(api, &task.name, &task.uid).await?;
        match after {
            Some(now) if now.metadata.deletion_timestamp.is_none() => {}
            Some(now) => {
                task.deleting = true;
                task.generation = now.metadata.generation.unwrap_or_default();
                return self.delete_claimed(api, task, &now).await;
            }
            None => {
                let undone = timeout(self.deadline(), self.unmake(&mut task, chosen, &wanted)).await;
                info!(undone = matches!(undone, Ok(Ok(()))), "the object is gone, and so is its record");
                return Ok(Outcome::Gone);
            }
        }
        match made {
            Ok(servers) => self.record_done(api, task, &servers).await,
            Err(error) => self.record_failure(api, task, &error).await,
        }
    }

    /// Makes it so at the provider, and waits a little for the name servers.
    async fn make(&self, task: &mut Task, chosen: &Chosen, wanted: &Wanted) -> Result<Vec<Authority>, Error> {
        let (seen, servers) = match self.connect(task, chosen).await? {
            Connected::Cloudflare(zones) => {
                (self.settle(&zones, wanted).await?, answers::of_zone(&wanted.zone, self.resolver).await?)
            }
            Connected::Rfc2136(server) => (self.settle(&server, wanted).await?, vec![authority(server.address())]),
            Connected::Nothing => (Seen::default(), Vec::new()),
        };
        task.section.zone_id = seen.zone_id;
        task.section.remote_id =
            seen.records.iter().find(|record| record.kind == wanted.kind).and_then(|record| record.id.clone());
        let until = Instant::now() + PATIENCE;
        loop {
            let silent = answers::silent(wanted, &servers).await;
            if silent == 0 && !servers.is_empty() {
                return Ok(servers);
            }
            if Instant::now() >= until {
                return Err(Error::NotAnswered { silent, all: servers.len(), wait: self.args.probe });
            }
            sleep(LOOK).await;
        }
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
        info!(host = wanted.fqdn, kind = word(wanted.kind), "a record is made");
        let seen = provider.observe(wanted).await?;
        if plan(wanted, &seen, &BTreeSet::new()) == Step::Keep { Ok(seen) } else { Err(Error::Changed) }
    }

    /// Those of these owners that are neither a Workspace nor a DNSRecord any more, by quorum reads.
    async fn gone(&self, mut owners: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let failed = |error| Error::Cluster("list the owners of records", error);
        let workspaces: Api<Workspace> = Api::all(self.client.clone());
        let records: Api<DNSRecord> = Api::namespaced(self.client.clone(), &self.args.namespace);
        let workspaces = workspaces.list_metadata(&ListParams::default()).await.map_err(failed)?;
        let records = records.list_metadata(&ListParams::default()).await.map_err(failed)?;
        for uid in workspaces.items.iter().map(|one| &one.metadata).chain(records.items.iter().map(|one| &one.metadata))
        {
            owners.remove(uid.uid.as_deref().unwrap_or_default());
        }
        Ok(owners)
    }

    async fn delete_record(&self, api: &Api<DNSRecord>, mut task: Task, record: &DNSRecord) -> Result<Outcome, Broken> {
        task.section.section.state = Some(State::Deleting);
        task.write(api).await?;
        self.delete_claimed(api, task, record).await
    }

    async fn delete_claimed(
        &self,
        api: &Api<DNSRecord>,
        mut task: Task,
        record: &DNSRecord,
    ) -> Result<Outcome, Broken> {
        let deleted = match self.acted(&task, record) {
            Ok(chosen) => {
                let wanted = self.wanted(record, chosen);
                let deleted = timeout(self.deadline(), self.unmake(&mut task, chosen, &wanted)).await;
                deleted.unwrap_or_else(|_elapsed| Err(Error::Unknown("the provider", self.args.quarantine)))
            }
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => self.record_gone(api, task).await,
            Err(_) if self.abandoned(record).await => self.record_gone(api, task).await,
            Err(error) => self.record_failure(api, task, &error).await,
        }
    }

    async fn unmake(&self, task: &mut Task, chosen: &Chosen, wanted: &Wanted) -> Result<(), Error> {
        match self.connect(task, chosen).await? {
            Connected::Cloudflare(zones) => remove(&zones, wanted).await,
            Connected::Rfc2136(server) => remove(&server, wanted).await,
            Connected::Nothing => Ok(()),
        }
    }

    /// The provider that serves the record for the Workspace's namespace, asked again at every act.
    fn chosen(&self, record: &DNSRecord) -> Result<&Chosen, Error> {
        let namespace =
            record.labels().get("se.quencer.io/workspace-namespace").map_or(&*self.args.namespace, |name| name);
        choose(&self.providers, &fqdn(record), namespace, record.spec.provider.as_deref())
            .map_err(|_code| Error::NotGranted { zone: record.spec.zone.clone(), namespace: namespace.into() })
    }

    /// The provider that it was made at, whether or not that is still granted.
    fn acted(&self, task: &Task, record: &DNSRecord) -> Result<&Chosen, Error> {
        let named = task.section.provider.as_deref().or(record.spec.provider.as_deref());
        let found = self.providers.iter().find(|provider| Some(provider.name.as_str()) == named);
        found.map_or_else(|| self.chosen(record), Ok)
    }

    fn wanted(&self, record: &DNSRecord, chosen: &Chosen) -> Wanted {
        let spec = &record.spec;
        let fqdn = fqdn(record);
        let cloudflare = matches!(chosen.kind, Kind::Cloudflare(_));
        let tunnel = spec.target.trim_end_matches('.').ends_with(TUNNELS);
        let proxied = spec.properties.get("proxied").map_or(tunnel, |value| value == "true");
        let ttl = spec.ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(self.args.dns_ttl);
        let owner = record.labels().get("se.quencer.io/ws-uid").cloned().or_else(|| record.uid()).unwrap_or_default();
        Wanted {
            zone: chosen.zone_of(&fqdn).unwrap_or(&spec.zone).into(),
            kind: spec.record_type,
            target: spec.target.trim_end_matches('.').into(),
            ttl: if cloudflare { ttl.max(zones::SHORTEST) } else { ttl },
            proxied: cloudflare && proxied,
            mark: Mark { cluster: self.args.cluster_id.clone(), owner },
            fqdn,
        }
    }

    async fn connect(&self, task: &mut Task, chosen: &Chosen) -> Result<Connected, Error> {
        match &chosen.kind {
            Kind::Cloudflare(cloudflare) => {
                let token = self.credential(task, &cloudflare.api_token_secret_ref, "api.cloudflare.com").await?;
                let api = Cloudflare::new(self.http.clone(), &self.args.cloudflare_url, token);
                Ok(Connected::Cloudflare(Zones::new(api, self.args.quarantine)))
            }
            Kind::Rfc2136(server) => {
                let host = server.nameserver.rsplit_once(':').map_or(&*server.nameserver, |(host, _)| host);
                let key = self.credential(task, &server.tsig_secret_secret_ref, host).await?;
                Ok(Connected::Rfc2136(rfc2136::Server::new(server, &key).await?))
            }
            Kind::Wildcard => Ok(Connected::Nothing),
        }
    }

    /// A provider's credential, of the release namespace.
    async fn credential(&self, task: &mut Task, key: &SecretKeyRef, host: &str) -> Result<SecretString, Error> {
        let reference = SecretRef { name: key.name.clone(), namespace: key.namespace.clone() };
        let from = &self.args.namespace;
        let source = format!("{}/{}", key.namespace.as_ref().unwrap_or(from), key.name);
        task.credential = BTreeMap::from([(source.clone(), String::new())]);
        let secret = self.secrets.read(from, &reference).await?;
        task.credential.insert(source, secret.version().into());
        secret.for_host(host)?;
        Ok(secret.text(&key.key)?)
    }

    /// Whether an administrator gave up what the Workspace has outside.
    async fn abandoned(&self, record: &DNSRecord) -> bool {
        let labels = record.labels();
        let label = |name: &str| labels.get(&format!("se.quencer.io/{name}"));
        let (Some(namespace), Some(name), Some(uid)) =
            (label("workspace-namespace"), label("workspace"), label("ws-uid"))
        else {
            return false;
        };
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), namespace);
        let found = current(&api, name, uid).await.ok().flatten();
        found.is_some_and(|found| found.annotations().get("se.quencer.io/abandon-external") == Some(uid))
    }

    async fn record_done(
        &self,
        api: &Api<DNSRecord>,
        mut task: Task,
        servers: &[Authority],
    ) -> Result<Outcome, Broken> {
        task.section.nameservers = servers.iter().take(16).map(|server| server.name.clone()).collect();
        task.finish(State::Completed);
        task.write(api).await?;
        Ok(Outcome::Done)
    }

    async fn record_gone(&self, api: &Api<DNSRecord>, mut task: Task) -> Result<Outcome, Broken> {
        task.section.deleted_at = Some(Time(jiff::Timestamp::now()));
        task.finish(State::Gone);
        task.write(api).await?;
        Ok(Outcome::Done)
    }

    async fn record_failure(&self, api: &Api<DNSRecord>, mut task: Task, error: &Error) -> Result<Outcome, Broken> {
        let section = &mut task.section;
        self.fail(&mut section.section, error, &task.credential, &task.uid);
        section.section.observed_generation = Some(task.generation);
        let under_way = if task.deleting { State::Deleting } else { State::InProgress };
        section.section.state = Some(if error.is_waiting() { under_way } else { State::Error });
        section.failure = (!error.is_waiting()).then(|| told(error));
        task.write(api).await?;
        Ok(Outcome::Recorded)
    }
}

/// A provider with its credential.
enum Connected {
    Cloudflare(Zones),
    Rfc2136(rfc2136::Server),
    Nothing,
}

impl Task {
    fn new(record: &DNSRecord, uid: String) -> Self {
        Self {
            uid,
            name: record.name_any(),
            generation: record.metadata.generation.unwrap_or_default(),
            deleting: record.metadata.deletion_timestamp.is_some(),
            section: record.status.as_ref().map(|status| status.record.clone()).unwrap_or_default(),
            credential: BTreeMap::new(),
        }
    }

    fn intend(&mut self, wanted: &Wanted, chosen: &Chosen) {
        let section = &mut self.section;
        section.section.state = Some(State::InProgress);
        section.provider = Some(chosen.name.clone());
        section.fqdn = Some(wanted.fqdn.clone());
        section.record_type = Some(word(wanted.kind).into());
        section.target = Some(wanted.target.clone());
        section.ttl = i32::try_from(wanted.ttl).ok();
    }

    fn finish(&mut self, state: State) {
        let section = &mut self.section.section;
        section.state = Some(state);
        section.observed_generation = Some(self.generation);
        section.claim = None;
        section.retry = None;
        self.section.failure = None;
    }

    /// Writes the section over the revision that was read, and goes on from the new one.
    async fn write(&mut self, api: &Api<DNSRecord>) -> Result<(), Broken> {
        let rev = self.section.section.rev;
        let patch = StatusPatch::new(&self.uid).section(SECTION, rev, &self.section)?;
        let written: DNSRecord = patch.apply(api, &self.name).await?;
        if let Some(status) = written.status {
            self.section = status.record;
        }
        Ok(())
    }
}

/// Deletes what is ours, and looks whether it is gone.
async fn remove<P: Provider>(provider: &P, wanted: &Wanted) -> Result<(), Error> {
    let ours = |seen: &Seen| (owned(wanted, seen), seen.records.is_empty() && noted(wanted, seen));
    let seen = provider.observe(wanted).await?;
    let (records, mark) = ours(&seen);
    if records.is_empty() && !mark {
        return Ok(());
    }
    provider.delete(wanted, &seen, &records).await?;
    info!(host = wanted.fqdn, kind = word(wanted.kind), "a record is deleted");
    match ours(&provider.observe(wanted).await?) {
        (records, false) if records.is_empty() => Ok(()),
        _ => Err(Error::Changed),
    }
}

fn fqdn(record: &DNSRecord) -> String {
    format!("{}.{}", record.spec.name, record.spec.zone)
}

fn authority(address: SocketAddr) -> Authority {
    Authority { name: address.ip().to_string(), address: Some(address) }
}
