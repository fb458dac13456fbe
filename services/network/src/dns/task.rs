//! One DNSRecord under way, and its section.

use std::collections::BTreeMap;

use kube::{Api, ResourceExt as _};
use sequencer_api::DNSRecord;
use sequencer_api::code::Code;
use sequencer_api::provider::Provider as Chosen;
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::status::{Section, State};
use sequencer_runtime::cluster::StatusPatch;

use super::{Wanted, word};
use crate::handle::Broken;

/// The section's name.
const SECTION: &str = "record";

/// One DNSRecord under way.
pub(super) struct Task {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) section: RecordSection,
    /// The Secrets that were read, with their versions.
    pub(super) credential: BTreeMap<String, String>,
}

impl Task {
    pub(super) fn new(record: &DNSRecord, uid: String) -> Self {
        Self {
            uid,
            name: record.name_any(),
            generation: record.metadata.generation.unwrap_or_default(),
            deleting: record.metadata.deletion_timestamp.is_some(),
            section: record.status.as_ref().map(|status| status.record.clone()).unwrap_or_default(),
            credential: BTreeMap::new(),
        }
    }

    /// Whether the newest spec is made, and only answers were missing when it was looked at last. Now and then all of it is
    /// looked at again.
    pub(super) fn only_resolves(&self) -> bool {
        let Section { observed_generation, retry, claim, .. } = &self.section.section;
        let code = Code::NOT_RESOLVED.to_string();
        let waits = retry.as_ref().is_some_and(|retry| retry.code == code && retry.attempts % 8 != 0);
        waits && claim.is_none() && *observed_generation == Some(self.generation)
    }

    pub(super) fn intend(&mut self, wanted: &Wanted, chosen: &Chosen) {
        let section = &mut self.section;
        section.section.state = Some(State::InProgress);
        section.provider = Some(chosen.name.clone());
        section.fqdn = Some(wanted.fqdn.clone());
        section.record_type = Some(word(wanted.kind).into());
        section.target = Some(wanted.target.clone());
        section.ttl = i32::try_from(wanted.ttl).ok();
    }

    pub(super) fn finish(&mut self, state: State) {
        let section = &mut self.section.section;
        section.state = Some(state);
        section.observed_generation = Some(self.generation);
        section.claim = None;
        section.retry = None;
        self.section.failure = None;
    }

    /// Writes the section over the revision that was read, and goes on from the new one.
    pub(super) async fn write(&mut self, api: &Api<DNSRecord>) -> Result<(), Broken> {
        let rev = self.section.section.rev;
        let patch = StatusPatch::new(&self.uid).section(SECTION, rev, &self.section)?;
        let written: DNSRecord = patch.apply(api, &self.name).await?;
        if let Some(status) = written.status {
            self.section = status.record;
        }
        Ok(())
    }
}
