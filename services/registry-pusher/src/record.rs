//! What the section `publish` says of the registries that were tried. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::Build;
use sequencer_api::repository::Repository;
use sequencer_api::status::State;
use sequencer_api::status::build::{PublishSection, PublishedTo};
use sequencer_runtime::registry::Digest;
use sequencer_runtime::retry::Retry;
use sequencer_runtime::section::{End, Failing, Stop};

/// What became of one registry.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) url: String,
    pub(crate) done: Result<Done, Failing>,
}

/// How it ended, if it did not fail.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    /// So many bytes of blobs were sent, and these tags point to it.
    Published(u64, Vec<String>),
    /// Another Build took its place before its tags were moved.
    Overtaken,
}

/// Notes in the section what became of each registry. One that was not tried keeps its line.
pub(crate) fn note(
    section: &mut PublishSection,
    build: &Build,
    digest: &Digest,
    tried: &[Tried],
    now: Timestamp,
) {
    let urls = || {
        build
            .spec
            .container_registries
            .iter()
            .map(|registry| &registry.url)
    };

    let line = |url: &String| {
        let before = || section.registries.iter().find(|line| line.url == *url);
        tried
            .iter()
            .find(|one| one.url == *url)
            .and_then(|one| published(one, digest, now))
            .or_else(|| before().cloned())
    };

    section.registries = urls().filter_map(line).collect();

    // Pods pull from the first registry of the spec.
    section.image = section
        .registries
        .first()
        .filter(|first| Some(&first.url) == urls().next() && first.state == State::Completed)
        .and_then(|first| Some(format!("{}@{digest}", first.repository.as_ref()?)));
}

/// How the work ends, given what became of each registry. The first failure says what is wrong;
/// when it is tried again is decided by the one that may heal by itself.
pub(crate) fn end(tried: Vec<Tried>) -> Result<End, Stop> {
    if tried
        .iter()
        .any(|one| matches!(one.done, Ok(Done::Overtaken)))
    {
        return Ok(End::Reached(State::Waiting));
    }

    let failures: Vec<_> = tried
        .into_iter()
        .filter_map(|one| Some((one.url, one.done.err()?)))
        .collect();
    let heals_by_itself = failures
        .iter()
        .any(|(_, failing)| failing.retry == Retry::Backoff);
    let may_be_a_secrets = failures.iter().any(|(_, failing)| failing.may_be_a_secrets);

    match failures.into_iter().next() {
        None => Ok(End::Reached(State::Completed)),
        Some((url, first)) => Err(Stop::Failed(Failing {
            message: format!("{url}: {}", first.message),
            retry: if heals_by_itself {
                Retry::Backoff
            } else {
                first.retry
            },
            may_be_a_secrets,
            ..first
        })),
    }
}

/// The line of a registry, or None if its tags were left alone.
fn published(tried: &Tried, digest: &Digest, now: Timestamp) -> Option<PublishedTo> {
    let repository = tried
        .url
        .parse::<Repository>()
        .ok()
        .map(|repository| repository.to_string());
    let line = PublishedTo {
        url: tried.url.clone(),
        repository,
        state: State::Error,
        tags: Vec::new(),
        digest: None,
        bytes: None,
        completed_at: None,
        failure: None,
    };

    match &tried.done {
        Ok(Done::Overtaken) => None,
        Ok(Done::Published(bytes, tags)) => Some(PublishedTo {
            state: State::Completed,
            tags: tags.clone(),
            digest: Some(digest.to_string()),
            bytes: i64::try_from(*bytes).ok(),
            completed_at: Some(Time(now)),
            ..line
        }),
        Err(failing) => Some(PublishedTo {
            failure: Some(failing.status()),
            ..line
        }),
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::code::Code;
    use serde_json::json;

    use super::*;

    fn build() -> Build {
        let registries = ["myuser/app", "b.test/app", "c.test/app"]
            .map(|url| json!({"url": url, "tags": ["dev"]}));
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": "w", "generation": 1},
            "spec": {
                "name": "app", "containerRegistries": registries,
                "importContent": [{"contentFrom": {"git": {"url": "https://github.com/a/b"}}}],
            },
        }))
        .unwrap()
    }

    fn failing(code: Code, retry: Retry) -> Failing {
        Failing {
            code,
            message: "no".into(),
            retry,
            may_be_a_secrets: code == Code::CredentialsRefused,
            state: State::Error,
        }
    }

    fn tried(url: &str, failing: Option<Failing>) -> Tried {
        Tried {
            url: url.into(),
            done: failing.map_or(Ok(Done::Published(7, vec!["dev".into()])), Err),
        }
    }

    fn overtaken(url: &str) -> Tried {
        Tried {
            url: url.into(),
            done: Ok(Done::Overtaken),
        }
    }

    fn noted(mut section: PublishSection, tried: &[Tried]) -> PublishSection {
        let digest = Digest::of(b"");
        note(
            &mut section,
            &build(),
            &digest,
            tried,
            Timestamp::UNIX_EPOCH,
        );
        section
    }

    fn failure(tried: Vec<Tried>) -> Failing {
        match end(tried) {
            Err(Stop::Failed(failing)) => failing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_failure_says_what_and_what_may_heal_by_itself_decides_when() {
        let unsupported = failing(Code::RegistryFeatureUnsupported, Retry::Stalled);
        let refused = failing(Code::CredentialsRefused, Retry::Backoff);

        let both = failure(vec![
            tried("myuser/app", None),
            tried("b.test/app", Some(unsupported.clone())),
            tried("c.test/app", Some(refused)),
        ]);
        assert_eq!(both.code, Code::RegistryFeatureUnsupported);
        assert_eq!(both.retry, Retry::Backoff);
        assert!(both.may_be_a_secrets);

        let alone = failure(vec![
            tried("b.test/app", Some(unsupported)),
            tried("c.test/app", None),
        ]);
        assert_eq!(alone.retry, Retry::Stalled);
        assert!(!alone.may_be_a_secrets);
    }

    #[test]
    fn all_published_is_the_end() {
        let all = ["myuser/app", "b.test/app"].map(|url| tried(url, None));
        assert_eq!(end(all.into()).unwrap(), End::Reached(State::Completed));
    }

    #[test]
    fn one_that_was_overtaken_waits_whatever_else_failed() {
        let refused = failing(Code::CredentialsRefused, Retry::Backoff);
        let ended = end(vec![
            tried("myuser/app", Some(refused)),
            overtaken("b.test/app"),
        ]);
        assert_eq!(ended.unwrap(), End::Reached(State::Waiting));
    }

    #[test]
    fn what_was_done_before_stays() {
        let refused = failing(Code::CredentialsRefused, Retry::Backoff);
        let first = noted(
            PublishSection::default(),
            &[
                tried("myuser/app", None),
                tried("b.test/app", Some(refused.clone())),
                tried("c.test/app", Some(refused)),
            ],
        );

        assert_eq!(
            first.image,
            Some(format!("docker.io/myuser/app@{}", Digest::of(b"")))
        );

        let states = |section: &PublishSection| -> Vec<_> {
            section.registries.iter().map(|line| line.state).collect()
        };

        assert_eq!(
            states(&first),
            [State::Completed, State::Error, State::Error]
        );

        let second = noted(first.clone(), &[tried("c.test/app", None)]);
        assert_eq!(second.registries[..2], first.registries[..2]);
        assert_eq!(
            states(&second),
            [State::Completed, State::Error, State::Completed]
        );
    }

    #[test]
    fn a_registry_whose_tags_were_left_alone_has_no_line() {
        let section = noted(
            PublishSection::default(),
            &[tried("myuser/app", None), overtaken("b.test/app")],
        );
        let urls: Vec<_> = section.registries.iter().map(|line| &line.url).collect();
        assert_eq!(urls, ["myuser/app"]);
    }

    #[test]
    fn without_the_first_registry_pods_have_no_image() {
        let section = noted(PublishSection::default(), &[tried("b.test/app", None)]);
        assert_eq!(section.image, None);
    }
}
