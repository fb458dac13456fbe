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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sequencer_api::code::Code;
    use serde_json::json;

    use super::*;

    const WAITS: Waits =
        Waits { first: Duration::from_secs(5), longest: Duration::from_secs(900), secret: Duration::from_secs(30) };

    fn build() -> Build {
        let registries = ["myuser/app", "b.test/app", "c.test/app"].map(|url| json!({"url": url, "tags": ["dev"]}));
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": "w", "generation": 1},
            "spec": {
                "name": "app", "containerRegistries": registries,
                "importContent": [{"contentFrom": {"git": {"url": "https://github.com/a/b"}}}],
            },
        }))
        .unwrap()
    }

    fn failing(code: Code, retry: Retry, secret: &str) -> Failing {
        let secrets = BTreeMap::from([(secret.to_owned(), "7".to_owned())]);
        Failing { code, message: "no".into(), retry, secrets }
    }

    fn tried(url: &str, failing: Option<Failing>) -> Tried {
        Tried { url: url.into(), done: failing.map_or(Ok((7, vec!["dev".into()])), Err) }
    }

    fn end(before: PublishSection, results: &[Tried]) -> PublishSection {
        ended(&build(), before, &Digest::of(b""), results, &WAITS, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_may_heal_by_itself_decides_when_and_the_first_failure_says_what() {
        let refused = failing(Code::REGISTRY_UNSUPPORTED, Retry::Stalled, "n/a");
        let away = failing(Code::REGISTRY_REFUSED, Retry::Backoff, "n/b");
        let first = end(
            PublishSection::default(),
            &[tried("myuser/app", None), tried("b.test/app", Some(refused.clone())), tried("c.test/app", Some(away))],
        );
        let retry = first.section.retry.clone().unwrap();
        assert_eq!((first.section.state, retry.code.as_str(), retry.attempts), (Some(State::Error), "E#1022", 1));
        assert!(retry.next_attempt_at.0.as_second() <= 5);
        assert_eq!(retry.secret_versions.keys().collect::<Vec<_>>(), ["n/a", "n/b"]);
        assert_eq!(first.image, Some(format!("docker.io/myuser/app@{}", Digest::of(b""))));

        // What was done before stays, and nothing but what only a person heals is left: it is looked at seldom.
        let second = end(first.clone(), &[tried("b.test/app", Some(refused)), tried("c.test/app", None)]);
        assert_eq!(second.registries[0], first.registries[0]);
        assert_eq!(second.section.retry.map(|retry| retry.next_attempt_at.0.as_second()), Some(900));

        let third = end(first, &[tried("b.test/app", None), tried("c.test/app", None)]);
        assert_eq!((third.section.state, third.section.retry), (Some(State::Completed), None));
        assert!(third.registries.iter().all(|one| one.state == State::Completed && one.failure.is_none()));
    }
}
