//! The verb `dns`: a DNSRecord and its record at the provider.

use kube::{Api, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::provider::{Kind, Provider as Chosen};
use sequencer_api::status::State;
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::cluster::current;
use sequencer_runtime::error::chain;
use sequencer_runtime::section::{End, Finality, Handler, Meanwhile, SecretReader, Stop, Work};
use tracing::{info, warn};

use super::Wanted;
use super::act::Answers;
use super::section::{abandoned, gone, intend, only_answers_are_missing};
use crate::error::Error;
use crate::service::{Service, failure};

/// Who does not answer, in messages.
const PROVIDER: &str = "the DNS provider";

/// The most name servers that a section names (the schema's `maxItems`).
const MAX_NAMESERVERS: usize = 16;

/// Publishes and deletes DNS records.
pub(crate) struct RecordHandler<'a>(pub(crate) &'a Service);

impl Handler for RecordHandler<'_> {
    type Section = RecordSection;

    async fn handle(&self, work: &mut Work<RecordSection>) -> Result<End, Stop> {
        let ended = self.reconcile(work).await;
        work.section.failure = failure(&ended);
        ended
    }
}

impl RecordHandler<'_> {
    async fn reconcile(&self, work: &mut Work<RecordSection>) -> Result<End, Stop> {
        let record = work.object();
        let deleting = work.is_deleting();
        let ours = record
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == labels::RECORD_FINALIZER);
        if !ours || work.namespace() != self.0.args.hosts.namespace {
            return Ok(End::Nothing(Outcome::Stale));
        }

        work.claimable()?;
        if !work.is_due(Finality::UntilAsked, deleting).await {
            return Ok(End::Nothing(Outcome::Done));
        }

        if deleting {
            self.delete(work, &record).await
        } else if record.spec.target.is_none() {
            // It only holds the host: there is nothing to publish.
            Ok(End::Nothing(Outcome::Stale))
        } else if !work.is_asked() && only_answers_are_missing(work) {
            let chosen = self.0.acted(&work.section, &record)?;
            let wanted = self.0.wanted(&record, chosen);
            self.answered(work, chosen, &wanted).await
        } else {
            self.publish(work, &record).await
        }
    }

    async fn publish(
        &self,
        work: &mut Work<RecordSection>,
        record: &DNSRecord,
    ) -> Result<End, Stop> {
        let chosen = self.0.chosen(record)?;
        let wanted = self.0.wanted(record, chosen);

        // The intent stands before the first act.
        intend(&mut work.section, &wanted, &chosen.name);
        if chosen.kind == Kind::Wildcard {
            work.section.nameservers.clear();
            return Ok(End::Reached(State::Completed));
        }

        // Where what was made before stands, nothing has to be claimed.
        let secrets = work.secrets();
        let made_before = work.section.section.is(State::Completed, work.generation());
        if made_before && self.0.stands(&secrets, chosen, &wanted).await? {
            return self.answered(work, chosen, &wanted).await;
        }

        work.claim(State::InProgress).await?;

        let made = self
            .0
            .act(PROVIDER, self.0.make(&secrets, chosen, &wanted))
            .await;

        // What was made goes again, now: nobody may come back to it.
        match work.meanwhile().await? {
            Meanwhile::Stays => {}
            Meanwhile::Deleted(now) => return self.unmake(work, &now).await,
            Meanwhile::Gone => {
                self.undo(&secrets, chosen, &wanted).await;
                return Ok(End::Nothing(Outcome::Gone));
            }
        }

        let seen = made?;
        work.section.remote_id = seen
            .records
            .iter()
            .find(|found| found.kind == wanted.kind)
            .and_then(|found| found.id.clone());
        work.section.zone_id = seen.zone_id;
        self.answered(work, chosen, &wanted).await
    }

    /// Waits a little for the name servers.
    async fn answered(
        &self,
        work: &mut Work<RecordSection>,
        chosen: &Chosen,
        wanted: &Wanted,
    ) -> Result<End, Stop> {
        match self.0.answers(chosen, wanted).await? {
            Answers::Complete(servers) => {
                work.section.nameservers = servers
                    .into_iter()
                    .map(|server| server.name)
                    .take(MAX_NAMESERVERS)
                    .collect();
                Ok(End::Reached(State::Completed))
            }
            Answers::Missing { silent, all } => Ok(self.0.waiting(
                Code::RecordNotResolved,
                format!(
                    "{silent} of {all} authoritative name servers do not answer with the record yet"
                ),
                State::InProgress,
            )),
        }
    }

    async fn delete(
        &self,
        work: &mut Work<RecordSection>,
        record: &DNSRecord,
    ) -> Result<End, Stop> {
        if work.section.provider.is_none() {
            // Before the first act its provider is written down: nothing was ever made.
            return Ok(gone(&mut work.section));
        }

        work.claim(State::Deleting).await?;
        self.unmake(work, record).await
    }

    /// Deletes the record at the provider, under a claim. What an administrator gave up is tried
    /// once more.
    async fn unmake(
        &self,
        work: &mut Work<RecordSection>,
        record: &DNSRecord,
    ) -> Result<End, Stop> {
        let secrets = work.secrets();
        let given_up = self.is_abandoned(record).await?;
        let unmade = async {
            let chosen = self.0.acted(&work.section, record)?;
            let wanted = self.0.wanted(record, chosen);
            self.0
                .act(PROVIDER, self.0.unmake(&secrets, chosen, &wanted))
                .await
        };

        match unmade.await {
            Ok(()) => Ok(gone(&mut work.section)),
            Err(error) if given_up && error.is_outside() => {
                warn!(error = chain(&error), "An administrator gave up the record");
                Ok(abandoned())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes what was made for an object that is gone: nothing can be recorded of it.
    async fn undo(&self, secrets: &SecretReader, chosen: &Chosen, wanted: &Wanted) {
        let removal = self.0.unmake(secrets, chosen, wanted);

        match self.0.act(PROVIDER, removal).await {
            Ok(()) => info!("Undid a record whose object is gone"),
            Err(error) => warn!(
                error = chain(&error),
                "Failed to undo a record whose object is gone"
            ),
        }
    }

    /// Whether an administrator gave up what the Workspace has outside.
    async fn is_abandoned(&self, record: &DNSRecord) -> Result<bool, Error> {
        let label = |name: &str| record.labels().get(name);
        let (Some(namespace), Some(name), Some(uid)) = (
            label(labels::WORKSPACE_NAMESPACE),
            label(labels::WORKSPACE),
            label(labels::WORKSPACE_UID),
        ) else {
            return Ok(false);
        };

        let api: Api<Workspace> = Api::namespaced(self.0.client.clone(), namespace);
        let found = current(&api, name, uid)
            .await
            .map_err(|error| Error::Cluster("read the Workspace", error))?;
        Ok(found.is_some_and(|found| found.is_abandoned()))
    }
}
