//! The section `publish` as it is written. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::Build;
use sequencer_api::repository::Repository;
use sequencer_api::status::build::{PublishSection, PublishedTo};
use sequencer_api::status::{Claim, Failure, Section, State};
use sequencer_runtime::retry::{Failing, Retry, Waits, failed};
use uuid::Uuid;

use crate::digest::Digest;

/// The most Secrets that a failure may name.
const SECRETS: usize = 16;

/// What became of one registry.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) url: String,
    /// How many bytes of blobs were sent, under which tags.
    pub(crate) done: Result<(u64, Vec<String>), Failing>,
}

/// The section while it is worked on: a failure before stays, and counts on.
pub(crate) fn claimed(build: &Build, claim: Claim) -> PublishSection {
    let before = build.status.as_ref().map(|status| status.publish.clone()).unwrap_or_default();
    let section = Section {
        state: Some(State::InProgress),
        observed_generation: build.metadata.generation,
        claim: Some(claim),
        ..before.section
    };
    PublishSection { section, ..before }
}

/// The section after a failure that is no registry's.
pub(crate) fn broken(
    before: PublishSection,
    failing: Failing,
    waits: &Waits,
    uid: Uuid,
    now: Timestamp,
) -> PublishSection {
    let retry = failed(before.section.retry.as_ref(), failing, waits, uid, now);
    let section = Section { state: Some(State::Error), claim: None, retry: Some(retry), ..before.section };
    PublishSection { section, ..before }
}

/// The section once every registry was tried.
pub(crate) fn ended(
    build: &Build,
    before: PublishSection,
    digest: &Digest,
    results: &[Tried],
    waits: &Waits,
    now: Timestamp,
) -> PublishSection {
    let urls: Vec<_> = build.spec.container_registries.iter().map(|registry| registry.url.as_str()).collect();
    let entry = |url: &&str| {
        let old = || before.registries.iter().find(|one| one.url == **url).cloned();
        results.iter().find(|one| one.url == **url).map(|result| published(result, digest, now)).or_else(old)
    };
    let registries: Vec<_> = urls.iter().filter_map(entry).collect();
    let first =
        registries.first().filter(|one| Some(&one.url.as_str()) == urls.first() && one.state == State::Completed);
    let image = first.and_then(|one| Some(format!("{}@{digest}", one.repository.as_ref()?)));
    let before = PublishSection { image, registries, ..before };
    match worst(results) {
        Some(failing) => broken(before, failing, waits, uid(build), now),
        None => {
            let section = Section { state: Some(State::Completed), claim: None, retry: None, ..before.section };
            PublishSection { section, ..before }
        }
    }
}

pub(crate) fn uid(build: &Build) -> Uuid {
    build.metadata.uid.as_deref().and_then(|uid| uid.parse().ok()).unwrap_or_default()
}

fn published(result: &Tried, digest: &Digest, now: Timestamp) -> PublishedTo {
    let repository = result.url.parse::<Repository>().ok().map(|repository| repository.to_string());
    let entry = PublishedTo {
        url: result.url.clone(),
        repository,
        state: State::Error,
        tags: Vec::new(),
        digest: None,
        bytes: None,
        completed_at: None,
        failure: None,
    };
    match &result.done {
        Ok((bytes, tags)) => PublishedTo {
            state: State::Completed,
            tags: tags.clone(),
            digest: Some(digest.to_string()),
            bytes: i64::try_from(*bytes).ok(),
            completed_at: Some(Time(now)),
            ..entry
        },
        Err(failing) => {
            let message = failing.message.chars().take(1024).collect();
            let failure = Failure { code: failing.code.to_string(), message: Some(message), ..Failure::default() };
            PublishedTo { failure: Some(failure), ..entry }
        }
    }
}

/// The first failure speaks for all; what may heal by itself decides when it is tried again.
fn worst(results: &[Tried]) -> Option<Failing> {
    let mut failures = results.iter().filter_map(|result| Some((&result.url, result.done.as_ref().err()?)));
    let (url, first) = failures.next()?;
    let mut worst = Failing { message: format!("{url}: {}", first.message), ..first.clone() };
    for (_, more) in failures {
        worst.secrets.extend(more.secrets.clone());
        if more.retry == Retry::Backoff {
            worst.retry = Retry::Backoff;
        }
    }
    let secrets: BTreeMap<_, _> = worst.secrets.into_iter().take(SECRETS).collect();
    Some(Failing { secrets, ..worst })
}
