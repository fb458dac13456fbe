//! The verb `dns`: a DNSRecord and its record at the provider.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _};
use sequencer_api::provider::Kind;
use sequencer_api::status::State;
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::Verdict;
use sequencer_runtime::cluster::current;
use tokio::time::timeout;
use tracing::info;

use super::answers::Server as Authority;
use super::task::Task;
use crate::error::Error;
use crate::handle::{Broken, Look, Service, told};

impl Service {
    /// Makes a DNSRecord's record so, or deletes it.
    pub(crate) async fn dns(&self, delivery: &Delivery) -> Result<Outcome, Broken> {
        let api: Api<DNSRecord> = Api::namespaced(self.client.clone(), &self.args.namespace);
        let uid = delivery.command.uid().to_string();
        let Some(record) = current(&api, &delivery.wake.name, &uid).await? else { return Ok(Outcome::Gone) };
        let mut task = Task::new(&record, uid);
        if !record.finalizers().iter().any(|finalizer| finalizer == labels::RECORD_FINALIZER) {
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
        if !task.deleting && !look.is_asked() && task.only_resolves() {
            return self.look_at_answers(&api, task, &record).await;
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

    /// The record is made: only answers are missing.
    async fn look_at_answers(&self, api: &Api<DNSRecord>, task: Task, record: &DNSRecord) -> Result<Outcome, Broken> {
        let answered = match self.acted(&task, record) {
            Ok(chosen) => self.answered(chosen, &self.wanted(record, chosen)).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(servers) => self.record_done(api, task, &servers).await,
            Err(error) => self.record_failure(api, task, &error).await,
        }
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

    /// Whether an administrator gave up what the Workspace has outside.
    async fn abandoned(&self, record: &DNSRecord) -> bool {
        let label = |name: &str| record.labels().get(name);
        let (Some(namespace), Some(name), Some(uid)) =
            (label(labels::WORKSPACE_NAMESPACE), label(labels::WORKSPACE), label(labels::WORKSPACE_UID))
        else {
            return false;
        };
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), namespace);
        let found = current(&api, name, uid).await.ok().flatten();
        found.is_some_and(|found| found.annotations().get(labels::ABANDON_EXTERNAL) == Some(uid))
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
