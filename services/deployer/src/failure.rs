//! What a section records of an error.

use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::status::{self, Section, State};
use sequencer_api::stored::Stored;
use sequencer_runtime::retry::{Retry, Waits};
use sequencer_runtime::section::{Failing, failed};

use crate::pull::Versions;

/// An error of an object, with the Secrets that may be its cause.
pub(crate) struct Failed {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) retry: Retry,
    pub(crate) secrets: Versions,
}

impl Failed {
    /// Returns when it is tried again: as was recorded, unless that is over, one of the Secrets
    /// changed or something else failed.
    pub(crate) fn retry(
        self,
        before: &Section,
        object: &impl Stored,
        waits: &Waits,
    ) -> status::Retry {
        let now = Timestamp::now();
        let standing = before.retry.as_ref().filter(|retry| {
            before.observed_generation == object.meta().generation
                && retry.code == self.code
                && retry.secret_versions == self.secrets
                && retry.next_attempt_at.0 > now
        });
        if let Some(standing) = standing {
            return standing.clone();
        }

        let failing = Failing {
            code: self.code,
            message: self.message,
            retry: self.retry,
            may_be_a_secrets: true,
            state: State::Error,
        };

        failed(
            before,
            object.generation(),
            &failing,
            self.secrets,
            waits,
            object.uuid(),
            now,
        )
    }
}
