//! One object and its section while a handler works at it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Client, Resource};
use sequencer_api::code::Code;
use sequencer_api::status::{self, Claim, State, StatusSection};
use sequencer_api::stored::Stored as _;
use sequencer_proto::v1::Trigger;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;

use super::claim::{POISON, Verdict, judge, renewed};
use super::due::{Due, Finality, Wanted, due};
use super::failure::{Failing, Waiting, failed, waiting};
use super::patch::{RecordError, StatusPatch};
use super::secrets::SecretReader;
use super::{Sections, Stop};
use crate::bus::{Delivery, Outcome};
use crate::cluster::current;
use crate::error::chain;
use crate::retry::Retry;
use crate::status_writer::WORDS;

/// A renewal that failed is tried so many times more often.
const RENEW_AGAIN: u32 = 10;

/// Where an object is read again.
#[derive(Clone, Debug)]
pub struct Target<K> {
    api: Api<K>,
    name: String,
    uid: String,
}

impl<K: Resource + Clone + Debug + DeserializeOwned> Target<K> {
    /// The object as it is now, or None if it is gone or another has its name.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn read(&self) -> kube::Result<Option<K>> {
        current(&self.api, &self.name, &self.uid).await
    }

    /// The API of its kind in its namespace.
    #[must_use]
    pub fn api(&self) -> &Api<K> {
        &self.api
    }
}

/// What became of an object while its handler worked.
#[derive(Clone, Debug)]
pub enum Meanwhile<K> {
    /// It stays, though its spec may have changed.
    Stays,
    /// It is being deleted.
    Deleted(Arc<K>),
    /// It is gone, or another has its name.
    Gone,
}

/// An object as it was read, and its section, which the handler changes and records.
#[derive(Debug)]
pub struct Work<S: StatusSection> {
    sections: Sections,
    target: Target<S::Object>,
    object: Arc<S::Object>,
    secrets: Arc<SecretReader>,
    namespace: String,
    uid: Uuid,
    generation: i64,
    asked: bool,
    /// What a person asked to be tried again, whether or not it was tried since.
    asked_for: Option<String>,
    redelivered: bool,
    /// The section as the API server has it.
    recorded: S,
    /// The section as it is going to be recorded.
    pub section: S,
}

impl<S: StatusSection> Work<S> {
    /// Reads the object of a message (a quorum read), or None if it is gone or another has its
    /// name.
    pub(super) async fn read(
        sections: &Sections,
        delivery: &Delivery,
    ) -> kube::Result<Option<Self>> {
        let payload = &delivery.payload;
        let uid = delivery.command.uid();
        let target: Target<S::Object> = Target {
            api: Api::namespaced(sections.client.clone(), &payload.namespace),
            name: payload.name.clone(),
            uid: uid.to_string(),
        };

        let Some(object) = target.read().await? else {
            return Ok(None);
        };

        let section = S::of(&object);
        let asked_for = Some(payload.asked.clone()).filter(|asked| !asked.is_empty());
        let tried = asked_for.is_some() && section.common().asked == asked_for;
        Ok(Some(Self {
            target,
            secrets: Arc::new(SecretReader::new(
                sections.secrets.clone(),
                &payload.namespace,
            )),
            namespace: payload.namespace.clone(),
            uid,
            generation: object.generation(),
            asked: payload.trigger() == Trigger::Retry && !tried,
            asked_for,
            redelivered: delivery.again,
            recorded: section.clone(),
            section,
            object: Arc::new(object),
            sections: sections.clone(),
        }))
    }

    /// The object as it was read.
    #[must_use]
    pub fn object(&self) -> Arc<S::Object> {
        Arc::clone(&self.object)
    }

    /// The Secrets that the object refers to.
    #[must_use]
    pub fn secrets(&self) -> Arc<SecretReader> {
        Arc::clone(&self.secrets)
    }

    /// Where the object is read again.
    #[must_use]
    pub fn target(&self) -> &Target<S::Object> {
        &self.target
    }

    /// A client with this service's rights.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.sections.client
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> Uuid {
        self.uid
    }

    /// `metadata.generation`.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.object.meta().deletion_timestamp.is_some()
    }

    /// Whether a person asked for another try.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// Whether somebody took this up before and did not come to an end: he may have died of it.
    #[must_use]
    pub fn was_begun_before(&self) -> bool {
        self.redelivered || self.recorded.common().claim.is_some()
    }

    /// Looks whether the object stays. Of one that is deleted by now, what is recorded from now on is
    /// recorded for the generation that it has then; what was done for an older spec of one that
    /// stays is recorded as that.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn meanwhile(&mut self) -> kube::Result<Meanwhile<S::Object>> {
        let Some(object) = self.target.read().await? else {
            return Ok(Meanwhile::Gone);
        };

        if object.meta().deletion_timestamp.is_none() {
            return Ok(Meanwhile::Stays);
        }

        self.generation = object.generation();
        self.object = Arc::new(object);
        Ok(Meanwhile::Deleted(self.object()))
    }

    /// How often this generation had to wait for this reason.
    #[must_use]
    pub fn waits(&self, code: Code) -> i32 {
        let section = self.recorded.common();
        section
            .retry
            .as_ref()
            .filter(|_| section.observed_generation == Some(self.generation))
            .filter(|retry| retry.code == code)
            .map_or(0, |retry| retry.attempts)
    }

    /// Whether there is work to do now. `deleting` is whether what the section stands for is to go.
    pub async fn is_due(&self, finality: Finality, deleting: bool) -> bool {
        let section = self.recorded.common();
        let wanted = Wanted {
            generation: self.generation,
            finished: finality.is_finished(section, self.generation, deleting, self.asked),
            asked: self.asked,
        };

        let holder = Some(&self.sections.holder);

        match due(section, wanted, holder, Timestamp::now()) {
            Due::Now => true,
            Due::Never | Due::At(_) => false,
            Due::IfSecretChanged(_) => match &section.retry {
                Some(retry) => self.secrets.is_any_changed(&retry.secret_versions).await,
                None => false,
            },
        }
    }

    /// Whether the work may be claimed.
    ///
    /// # Errors
    /// Another has it, or it was begun too often without an end (E#6101).
    pub fn claimable(&self) -> Result<Claim, Stop> {
        let before = self.recorded.common().claim.as_ref();
        let (holder, terms) = (&self.sections.holder, self.sections.terms);

        match judge(before, holder, terms, Timestamp::now()) {
            Verdict::Take(claim) => Ok(claim),
            Verdict::Elsewhere(_) => Err(Stop::Ended(Outcome::ClaimedElsewhere)),
            Verdict::Poison => Err(Stop::Failed(poisoned(self.sections.poison))),
        }
    }

    /// Claims the work, and records with the claim what the section says by now, with this state.
    /// The claim ends with the record of the end.
    ///
    /// # Errors
    /// As [`Work::claimable`], or it cannot be recorded.
    pub async fn claim(&mut self, state: State) -> Result<(), Stop> {
        let claim = self.claimable()?;
        let generation = self.generation;

        let section = self.section.common_mut();
        section.claim = Some(claim);
        section.state = Some(state);
        if section.observed_generation != Some(generation) {
            // A failure of another generation is another failure.
            section.observed_generation = Some(generation);
            section.retry = None;
        }

        Ok(self.record().await?)
    }

    /// Gives the claim back: the work did not end without a result, it did not begin.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub async fn release(&mut self) -> Result<(), RecordError> {
        let section = self.section.common_mut();
        section.claim = None;
        section.state = Some(State::Waiting);
        self.record().await
    }

    /// Lets `work` run, and keeps the claim alive meanwhile. Work that was not claimed is claimed
    /// once it takes longer than the time between two renewals.
    ///
    /// # Errors
    /// The claim is lost, or could not be renewed before it was over. `work` is dropped then.
    pub async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let (_silent, nothing) = watch::channel(());
        self.guard_and_tell(work, nothing, |_section, ()| {}).await
    }

    /// As [`Work::guard`], and records by `tell` how far `work` has come: what is new in `news`,
    /// every [`WORDS`] at most.
    ///
    /// # Errors
    /// As [`Work::guard`].
    pub async fn guard_and_tell<T, N: Clone>(
        &mut self,
        work: impl Future<Output = T>,
        mut news: watch::Receiver<N>,
        tell: impl Fn(&mut S, N),
    ) -> Result<T, Stop> {
        let pause = self.sections.terms.renew;
        let mut work = std::pin::pin!(work);
        let begun = Instant::now();
        let (mut renew_at, mut tell_at) = (begun + pause, begun + WORDS);

        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(renew_at) => {
                    let renewed = self.renew().await;
                    let next = if renewed.is_ok() { pause } else { pause / RENEW_AGAIN };
                    renewed.or_else(|error| self.tolerate(error))?;
                    renew_at = Instant::now() + next;
                }
                () = changed_after(tell_at, &mut news) => {
                    tell(&mut self.section, news.borrow_and_update().clone());
                    let told = self.record().await.map_err(Stop::from);
                    told.or_else(|error| self.tolerate(error))?;
                    tell_at = Instant::now() + WORDS;
                }
            }
        }
    }

    /// Records the section as it stands, if it differs from what is recorded.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub async fn record(&mut self) -> Result<(), RecordError> {
        if self.section == self.recorded {
            return Ok(());
        }

        let rev = self.recorded.common().rev;
        let written: S::Object = StatusPatch::new(&self.target.uid)
            .section(S::NAME, rev, &self.section)?
            .apply(&self.target.api, &self.target.name)
            .await?;

        self.recorded = S::of(&written);
        self.section = self.recorded.clone();
        Ok(())
    }

    /// Records that nothing is left to do.
    pub(super) async fn reached(&mut self, state: State) -> Result<(), RecordError> {
        self.end(state, None);
        self.record().await
    }

    /// Records that it takes its time.
    pub(super) async fn wait(&mut self, reason: Waiting) -> Result<(), RecordError> {
        info!(code = %reason.code, reason = reason.message, "Waiting");
        let before = self.recorded.common();
        let retry = waiting(before, self.generation, &reason, Timestamp::now());

        self.end(reason.state, Some(retry));
        self.record().await
    }

    /// Records that the work failed.
    pub(super) async fn fail(&mut self, failing: Failing) -> Result<(), RecordError> {
        let retry = failed(
            self.recorded.common(),
            self.generation,
            &failing,
            self.secrets.versions(),
            &self.sections.waits,
            self.uid,
            Timestamp::now(),
        );

        warn!(
            code = %failing.code,
            error = failing.message,
            attempts = retry.attempts,
            "Failed, will be tried again"
        );

        self.end(failing.state, Some(retry));
        self.record().await
    }

    fn end(&mut self, state: State, retry: Option<status::Retry>) {
        let generation = self.generation;
        let asked_for = self.asked_for.clone();
        let common = self.section.common_mut();

        *common = common.ended(state, generation, retry);
        common.asked = asked_for.or_else(|| common.asked.take());
    }

    async fn renew(&mut self) -> Result<(), Stop> {
        let before = self.recorded.common().claim.as_ref();
        let (holder, terms) = (&self.sections.holder, self.sections.terms);

        match renewed(before, holder, terms, Timestamp::now()) {
            Some(claim) => {
                self.section.common_mut().claim = Some(claim);
                Ok(self.record().await?)
            }
            None => self.claim(State::InProgress).await,
        }
    }

    /// Whether work may go on although this could not be recorded: nobody else begins as long
    /// as the claim lives.
    fn tolerate(&self, error: Stop) -> Result<(), Stop> {
        let until = self
            .recorded
            .common()
            .claim
            .as_ref()
            .map(|claim| claim.until.0);
        match error {
            Stop::Record(RecordError::Cluster(error))
                if until.is_none_or(|until| until > Timestamp::now()) =>
            {
                warn!(error = chain(&error), "Failed to record work that goes on");
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// Waits for news, and does not look for any before this moment.
async fn changed_after<N>(moment: Instant, news: &mut watch::Receiver<N>) {
    sleep_until(moment).await;
    if news.changed().await.is_err() {
        std::future::pending().await
    }
}

fn poisoned(after: Duration) -> Failing {
    Failing {
        code: Code::WorkInterrupted,
        message: format!(
            "the work ended {POISON} times in a row without a result: the log says why"
        ),
        retry: Retry::Wait(after),
        may_be_a_secrets: false,
        state: State::Error,
    }
}
