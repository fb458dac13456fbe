//! The verb `resolve`: the commits that the branches of a Component stand at.

use futures_util::future::try_join_all;
use jiff::Timestamp;
use sequencer_api::build::ImportContent;
use sequencer_api::status::State;
use sequencer_api::status::component::{SourceImport, SourceSection};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::{End, Finality, Handler, Stop, Work};
use tracing::info;

use super::Service;
use crate::credentials::Reader;
use crate::error::Error;
use crate::plan::resolve;
use crate::source::wanted;

/// Finds commits with a builder's git.
pub(super) struct Resolver<'a>(pub(super) &'a Service);

impl Handler for Resolver<'_> {
    type Section = SourceSection;

    async fn handle(&self, work: &mut Work<SourceSection>) -> Result<End, Stop> {
        let component = work.object();
        let wanted = component
            .spec
            .template
            .build
            .as_ref()
            .filter(|_| !component.spec.paused && !work.is_deleting())
            .filter(|build| self.0.serves(work.namespace(), &build.runtime.pool));
        let Some(build) = wanted else {
            return Ok(End::Nothing(Outcome::Stale));
        };

        if !work.is_due(Finality::Polled, false).await {
            return Ok(End::Nothing(Outcome::Done));
        }

        let reader = Reader::new(work.client().clone(), work.namespace(), work.secrets());
        let imports = build.import_content.iter();
        let found = try_join_all(imports.map(|import| self.commit(import, &reader))).await?;

        let mode = component.spec.update_policy.mode;
        if resolve(&mut work.section, found, mode, Timestamp::now()) {
            let commits: Vec<_> = work
                .section
                .imports
                .iter()
                .map(|import| &import.commit)
                .collect();
            info!(?commits, "Resolved source");
        }

        Ok(End::Reached(State::Completed))
    }
}

impl Resolver<'_> {
    /// The commit of one import.
    async fn commit(&self, import: &ImportContent, reader: &Reader) -> Result<SourceImport, Error> {
        let wanted = wanted(import)?;

        let commit = match &wanted.commit {
            Some(commit) => commit.clone(),
            None => {
                let remote = reader.remote(wanted, import.credentials.as_ref()).await?;
                self.0
                    .git
                    .resolve(&remote, wanted.reference.as_deref())
                    .await
                    .map_err(|error| Error::Git {
                        url: wanted.url.clone(),
                        error,
                    })?
            }
        };

        Ok(SourceImport {
            path: import.path.clone(),
            url: wanted.url.clone(),
            reference: wanted.reference.clone(),
            commit,
            subject: None,
        })
    }
}
