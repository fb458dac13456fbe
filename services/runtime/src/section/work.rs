//! One object and its section while a handler works at it.

mod claimed;

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use kube::{Api, Client, Resource};
use sequencer_api::code::Code;
use sequencer_api::status::{self, State, StatusSection};
use sequencer_api::stored::Stored as _;
use sequencer_proto::v1::Trigger;
use serde::de::DeserializeOwned;
use tracing::{info, warn};
use uuid::Uuid;

use super::Sections;
use super::due::{Due, Finality, Wanted, due};
use super::failure::{Failing, Waiting, failed, waiting};
use super::patch::{RecordError, StatusPatch};
use super::secrets::SecretReader;
use crate::bus::Delivery;
use crate::cluster::current;

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
}
