//! One DNS record: what is wanted, what a provider has, and what to do about it.

mod act;
pub mod answers;
pub mod cloudflare;
pub mod handle;
pub mod rfc2136;
mod section;
pub mod server;

use std::collections::BTreeSet;
use std::future::Future;

pub use sequencer_api::dns_record::RecordType;

use crate::error::Error;
use crate::mark::Mark;

/// A record as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub zone: String,
    pub fqdn: String,
    pub kind: RecordType,
    /// What it points to.
    pub target: String,
    /// Seconds.
    pub ttl: u32,
    /// Whether Cloudflare's edge stands before it.
    pub proxied: bool,
    pub mark: Mark,
}

/// A record that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The provider's id, if it has ids.
    pub id: Option<String>,
    pub kind: RecordType,
    /// What it points to.
    pub target: String,
    /// Seconds.
    pub ttl: u32,
    /// Whether Cloudflare's edge stands before it.
    pub proxied: bool,
    /// The text where its mark would be: nothing, our mark, or anything.
    pub note: Option<String>,
}

/// What a provider has at a host: addresses, aliases, and texts where one is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The provider's id of the zone, if it has ids.
    pub zone_id: Option<String>,
    pub records: Vec<Record>,
    /// The texts of the host's mark, where it stands beside the records.
    pub notes: Vec<String>,
}

/// A DNS provider. Each call has its deadline.
pub trait Provider: Sync {
    fn observe(&self, wanted: &Wanted) -> impl Future<Output = Result<Seen, Error>> + Send;

    /// Makes the record, in the place of `replaced`, if what was seen is still so.
    fn put(
        &self,
        wanted: &Wanted,
        seen: &Seen,
        replaced: &[Record],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes records, and the mark with the last of them, if what was seen is still so.
    fn delete(
        &self,
        wanted: &Wanted,
        seen: &Seen,
        records: &[Record],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What to do about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as it shall be.
    Keep,
    /// Make it, in the place of these.
    Put(Vec<Record>),
    /// It is somebody else's.
    Foreign,
    /// Another record of the same Workspace has to go first.
    Occupied,
    /// It was made by this cluster for these owners: ours if all of them are gone.
    Ask(BTreeSet<String>),
}

/// Whose a record is.
enum Whose {
    Ours,
    Abandoned,
    Of(String),
    Foreign,
}

/// Decides. `gone` are owners that are known not to exist any more.
#[must_use]
pub fn plan(wanted: &Wanted, seen: &Seen, gone: &BTreeSet<String>) -> Step {
    let whose = |note: Option<&str>| match note.and_then(|note| note.parse::<Mark>().ok()) {
        Some(mark) if mark == wanted.mark => Whose::Ours,
        Some(mark) if mark.cluster != wanted.mark.cluster => Whose::Foreign,
        Some(mark) if gone.contains(&mark.owner) => Whose::Abandoned,
        Some(mark) => Whose::Of(mark.owner),
        None => Whose::Foreign,
    };

    let rivals: Vec<_> = seen
        .records
        .iter()
        .filter(|record| rival(wanted.kind, record.kind))
        .collect();
    let notes = rivals
        .iter()
        .map(|record| record.note.as_deref())
        .chain(seen.notes.iter().map(|note| Some(note.as_str())));
    let (mut ask, mut abandoned) = (BTreeSet::new(), false);

    for note in notes {
        match whose(note) {
            Whose::Ours => {}
            Whose::Abandoned => abandoned = true,
            Whose::Of(owner) => drop(ask.insert(owner)),
            Whose::Foreign => return Step::Foreign,
        }
    }

    if !ask.is_empty() {
        return Step::Ask(ask);
    }

    if !abandoned && rivals.iter().any(|record| record.kind != wanted.kind) {
        return Step::Occupied;
    }

    match rivals.as_slice() {
        [record] if !abandoned && same(wanted, record) => Step::Keep,
        _ => Step::Put(rivals.into_iter().cloned().collect()),
    }
}

/// What of the seen may be deleted: records of this type with our own mark, nobody else's.
#[must_use]
pub fn owned(wanted: &Wanted, seen: &Seen) -> Vec<Record> {
    let ours = |record: &&Record| {
        record.kind == wanted.kind
            && record
                .note
                .as_deref()
                .and_then(|note| note.parse().ok())
                .as_ref()
                == Some(&wanted.mark)
    };
    seen.records.iter().filter(ours).cloned().collect()
}

/// Whether a mark of ours stands beside the records.
#[must_use]
pub fn noted(wanted: &Wanted, seen: &Seen) -> bool {
    seen.notes
        .iter()
        .any(|note| note.parse().as_ref() == Ok(&wanted.mark))
}

/// Whether two types cannot be apart at one name: an alias is alone.
fn rival(wanted: RecordType, other: RecordType) -> bool {
    let alias = |kind| kind == RecordType::Cname;
    wanted == other || alias(other) || alias(wanted)
}

fn same(wanted: &Wanted, record: &Record) -> bool {
    let ttl = record.ttl == wanted.ttl || (wanted.proxied && record.proxied);
    record.kind == wanted.kind
        && ttl
        && record.proxied == wanted.proxied
        && same_target(wanted.kind, &wanted.target, &record.target)
}

/// Whether two targets are the same to DNS.
#[must_use]
pub fn same_target(kind: RecordType, one: &str, other: &str) -> bool {
    match kind {
        RecordType::Cname => one
            .trim_end_matches('.')
            .eq_ignore_ascii_case(other.trim_end_matches('.')),
        RecordType::A | RecordType::Aaaa => {
            let parse = |text: &str| text.parse::<std::net::IpAddr>().ok();
            one == other || (parse(one).is_some() && parse(one) == parse(other))
        }
        RecordType::Txt => one == other,
    }
}

#[cfg(test)]
mod tests;
