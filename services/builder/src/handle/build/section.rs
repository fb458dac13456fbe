//! The section of a Build: who works at its image, what came of it, and why there is none.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sequencer_api::status::build::ImageSection;
use sequencer_api::status::{Claim, Section, State};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::claim::{Verdict, judge};
use sequencer_runtime::cluster;
use sequencer_runtime::retry::{Failing, failed};

use super::Work;
use super::prepare::Prepared;
use crate::buildkit::Built;
use crate::error::Error;
use crate::handle::guard::is_unwanted;
use crate::handle::{Service, record};
use crate::staging::Staged;

impl Service {
    /// Claims the work under its key.
    pub(super) async fn claim(&self, work: &Work<'_>, prepared: &Prepared) -> Result<Claim, Outcome> {
        let found = match cluster::current(work.target.api, work.target.name, work.target.uid).await {
            Ok(Some(found)) if !is_unwanted(&found) => found,
            Ok(Some(_)) => return Err(Outcome::Stale),
            Ok(None) => return Err(Outcome::Gone),
            Err(_) => return Err(Outcome::NotRecorded),
        };
        let before = found.status.unwrap_or_default().image.section;
        let Verdict::Take(claim) = judge(before.claim.as_ref(), &self.holder, self.terms, Timestamp::now()) else {
            return Err(Outcome::ClaimedElsewhere);
        };
        let section = Section {
            rev: before.rev,
            state: Some(State::InProgress),
            observed_generation: Some(work.generation),
            claim: Some(claim.clone()),
            retry: before.retry,
        };
        let next = self.about(work, prepared, section);
        record(work.target.api, work.target.name, work.target.uid, "image", before.rev, &next).await?;
        Ok(claim)
    }

    /// Takes the claim back: it did not end without a result, it did not begin.
    pub(super) async fn release(&self, work: &Work<'_>) -> Result<(), Outcome> {
        let mut before = self.mine(work).await?;
        before.section.claim = None;
        before.section.state = Some(State::Waiting);
        before.started_at = None;
        record(work.target.api, work.target.name, work.target.uid, "image", before.section.rev, &before).await.map(drop)
    }

    /// The section, if my claim still stands in it.
    pub(super) async fn mine(&self, work: &Work<'_>) -> Result<ImageSection, Outcome> {
        let found = cluster::current(work.target.api, work.target.name, work.target.uid).await;
        let found = found.map_err(|_error| Outcome::NotRecorded)?.ok_or(Outcome::Gone)?;
        let section = found.status.unwrap_or_default().image;
        let mine = section.section.claim.as_ref().is_some_and(|claim| claim.holder == self.holder.to_string());
        if mine { Ok(section) } else { Err(Outcome::ClaimedElsewhere) }
    }

    /// The section of an image that is there.
    pub(super) fn completed(
        &self,
        work: &Work<'_>,
        prepared: &Prepared,
        rev: i64,
        staged: Staged,
        built: Option<&Built>,
        reused_from: Option<String>,
    ) -> ImageSection {
        let section = Section {
            rev,
            state: Some(State::Completed),
            observed_generation: Some(work.generation),
            claim: None,
            retry: None,
        };
        ImageSection {
            digest: Some(staged.digest),
            media_type: Some(staged.media_type),
            size: Some(staged.size),
            platforms: work.build.spec.platforms.clone(),
            staging: Some(sequencer_api::names::staging(work.namespace, &prepared.key)),
            cached_steps: built.map(|built| format!("{}/{}", built.cached, built.steps)),
            completed_at: Some(Time(Timestamp::now())),
            reused_from,
            ..self.about(work, prepared, section)
        }
    }

    /// What is known of a build before it ends.
    fn about(&self, work: &Work<'_>, prepared: &Prepared, section: Section) -> ImageSection {
        ImageSection {
            section,
            pool: Some(self.pool.to_string()),
            builder: Some(self.pod.clone()),
            sources: prepared.source.imports.clone(),
            key: Some(prepared.key.clone()),
            started_at: Some(Time(work.begun)),
            log: Some(work.log().to_string()),
            ..ImageSection::default()
        }
    }

    /// Records why there is no image, unless somebody else works at it by now.
    pub(super) async fn record_failure(&self, work: &Work<'_>, error: &Error) -> Outcome {
        let found = match cluster::current(work.target.api, work.target.name, work.target.uid).await {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Gone,
            Err(_) => return Outcome::NotRecorded,
        };
        let before = found.status.unwrap_or_default().image;
        let now = Timestamp::now();
        if let Verdict::Elsewhere(_) = judge(before.section.claim.as_ref(), &self.holder, self.terms, now) {
            return Outcome::ClaimedElsewhere;
        }
        let (message, failure) = work.told(error);
        let uid = work.delivery.command.uid();
        let section = self.failure(&before.section, work.generation, error, message, &work.reader, uid);
        let next = ImageSection { section, completed_at: Some(Time(now)), failure: Some(failure), ..before.clone() };
        match record(work.target.api, work.target.name, work.target.uid, "image", before.section.rev, &next).await {
            Ok(_) => Outcome::Recorded,
            Err(outcome) => outcome,
        }
    }

    /// Records that it is not worked at for a while.
    pub(super) async fn poisoned(&self, work: &Work<'_>, before: &Section) -> Outcome {
        let error = Error::Poison(sequencer_runtime::claim::POISON);
        let retry = sequencer_runtime::retry::Retry::Wait(self.poison);
        let failing = Failing { code: error.code(), message: error.to_string(), retry, secrets: Default::default() };
        let retry = failed(None, failing, &self.waits, work.delivery.command.uid(), work.begun);
        let (_, failure) = work.told(&error);
        let section = self.failing(before, work.generation, retry);
        let old = work.build.status.clone().unwrap_or_default().image;
        let next = ImageSection { section, failure: Some(failure), ..old };
        match record(work.target.api, work.target.name, work.target.uid, "image", before.rev, &next).await {
            Ok(_) => Outcome::Recorded,
            Err(outcome) => outcome,
        }
    }
}

impl Work<'_> {
    /// A failure as people read it.
    fn told(&self, error: &Error) -> (String, sequencer_api::status::Failure) {
        let Error::Build(failure) = error else {
            let message = error.to_string();
            let failure = crate::buildkit::Failure::plain(error.code(), message.clone());
            return (message, failure.status());
        };
        let git = self.build.spec.import_content.first().and_then(|import| import.content_from.git.as_ref());
        let commit = git.and_then(|git| git.commit.as_deref()).map(sequencer_api::labels::commit12);
        let commit = commit.map_or_else(|| self.build.name_any(), Into::into);
        let message = format!("build of {commit} {}", failure.summary(&self.build.spec.dockerfile));
        (message.clone(), sequencer_api::status::Failure { message: Some(message), ..failure.status() })
    }
}
