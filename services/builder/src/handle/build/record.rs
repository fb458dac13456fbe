//! What the section of a Build says of its image.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use sequencer_api::Build;
use sequencer_api::labels::commit12;
use sequencer_api::status::build::ImageSection;
use sequencer_runtime::error::chain;
use sequencer_runtime::section::{Failing, Failure as _, Work};

use super::prepare::Prepared;
use super::{Builder, Task};
use crate::buildkit::Failure;
use crate::error::Error;
use crate::staging::Staged;

impl Builder<'_> {
    /// What is known of a build before it ends.
    pub(super) fn begin(
        &self,
        work: &mut Work<ImageSection>,
        task: &Task<'_>,
        prepared: &Prepared,
    ) {
        work.section = ImageSection {
            section: work.section.section.clone(),
            pool: Some(self.service.pool.to_string()),
            builder: Some(self.service.pod.clone()),
            sources: prepared.source.recorded(),
            key: Some(prepared.key.clone()),
            started_at: Some(Time(task.begun)),
            log: Some(self.log.to_string()),
            ..ImageSection::default()
        };
    }

    /// An image that is there.
    pub(super) fn completed(
        &self,
        work: &mut Work<ImageSection>,
        task: &Task<'_>,
        prepared: &Prepared,
        staged: Staged,
    ) {
        let section = &mut work.section;
        section.step = None;
        section.digest = Some(staged.digest);
        section.media_type = Some(staged.media_type);
        section.size = Some(staged.size);
        section.platforms.clone_from(&task.build.spec.platforms);
        section.staging = Some(sequencer_api::names::staging(task.namespace, &prepared.key));
        section.completed_at = Some(Time(Timestamp::now()));
    }

    /// Why there is no image.
    pub(super) fn failed(
        &self,
        work: &mut Work<ImageSection>,
        build: &Build,
        error: Error,
    ) -> Failing {
        let failure = match &error {
            Error::Build(failure) => Failure {
                message: format!(
                    "build of {} {}",
                    commit(build),
                    failure.summary(&build.spec.dockerfile)
                ),
                ..Failure::clone(failure)
            },
            error => Failure::plain(error.code(), chain(error)),
        };

        work.section.step = None;
        work.section.completed_at = Some(Time(Timestamp::now()));
        work.section.failure = Some(failure.status());
        Failing {
            message: failure.message,
            ..error.into()
        }
    }
}

/// The commit of a Build, or its name if it follows a branch.
fn commit(build: &Build) -> String {
    let commit = build.spec.commit();
    commit.map_or_else(|| build.name_any(), |commit| commit12(commit).into())
}
