//! `resolve`: which commits do a Component's branches stand at?

use futures_util::future::try_join_all;
use jiff::Timestamp;
use sequencer_api::Component;
use sequencer_api::build::ImportContent;
use sequencer_api::status::component::{SourceImport, SourceSection};
use sequencer_runtime::bus::{Delivery, Outcome};
use tracing::info;

use super::{Service, record, wanted};
use crate::credentials::Reader;
use crate::error::Error;
use crate::plan::{self, Look};

impl Service {
    pub(super) async fn resolve(&self, delivery: &Delivery) -> kube::Result<Outcome> {
        let api = self.api::<Component>(&delivery.wake.namespace);
        let component = match wanted(&api, delivery).await? {
            Ok(component) => component,
            Err(outcome) => return Ok(outcome),
        };
        let Some(build) = &component.spec.template.build else { return Ok(Outcome::Done) };
        if component.spec.paused {
            return Ok(Outcome::Done);
        }
        if build.runtime.pool != self.pool.as_str() {
            return Ok(Outcome::Stale);
        }
        let before = component.status.clone().unwrap_or_default().source;
        let generation = component.metadata.generation.unwrap_or_default();
        let reader = Reader::new(&self.client, &delivery.wake.namespace);
        match plan::look(&before.section, false, generation, &delivery.wake.why, Timestamp::now()) {
            Look::Work => {}
            Look::Leave => return Ok(Outcome::Done),
            Look::IfChanged(versions) if reader.changed(&versions).await => {}
            Look::IfChanged(_) => return Ok(Outcome::Done),
        }
        let found = try_join_all(build.import_content.iter().map(|import| self.commit(import, &reader))).await;
        let mode = component.spec.update_policy.mode;
        let (next, outcome) = match found {
            Ok(found) => match plan::resolved(&before, found, mode, generation, Timestamp::now()) {
                Some(next) => (next, Outcome::Done),
                None => return Ok(Outcome::Done),
            },
            Err(error) => {
                let uid = delivery.command.uid();
                let section = self.failure(&before.section, generation, &error, error.to_string(), &reader, uid);
                (SourceSection { section, ..before.clone() }, Outcome::Recorded)
            }
        };
        let uid = delivery.command.uid().to_string();
        Ok(match record(&api, &delivery.wake.name, &uid, "source", before.section.rev, &next).await {
            Ok(_) if outcome == Outcome::Done => {
                info!(commits = ?next.imports.iter().map(|import| &import.commit).collect::<Vec<_>>(), "resolved");
                outcome
            }
            Ok(_) => outcome,
            Err(outcome) => outcome,
        })
    }

    /// The commit of one import.
    async fn commit(&self, import: &ImportContent, reader: &Reader<'_>) -> Result<SourceImport, Error> {
        let git = import.content_from.git.as_ref();
        let (url, reference) =
            (git.map(|git| git.url.clone()).unwrap_or_default(), git.and_then(|git| git.reference.clone()));
        let commit = match git.and_then(|git| git.commit.clone()) {
            Some(commit) => commit,
            None => {
                let remote = reader.remote(import).await?;
                let found = self.git.resolve(&remote, reference.as_deref()).await;
                found.map_err(|error| Error::Git { url: url.clone(), error })?
            }
        };
        Ok(SourceImport { path: import.path.clone(), url, reference, commit, subject: None })
    }
}
