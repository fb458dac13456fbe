//! What is left to do for a Build. Pure.

use kube::ResourceExt as _;
use sequencer_api::build::{ContainerRegistry, DeletionPolicy};
use sequencer_api::status::State;
use sequencer_api::status::build::{ImageSection, PublishedTo};
use sequencer_api::{Build, names};
use sequencer_runtime::registry::Digest;

use crate::error::Error;

/// What follows from a Build as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// There is nothing to publish: it is not built, or is going.
    Nothing,
    /// Every registry has the image under all its tags.
    Published,
    /// Another Build took its place: nothing of it is published, nor tried again.
    Superseded,
    Publish(Image),
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub digest: Digest,
    /// Its repository in the staging registry.
    pub staging: String,
    /// The registries that do not have it yet, with their tags.
    pub jobs: Vec<Job>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// As the Build names it.
    pub registry: ContainerRegistry,
    /// Its own tags, and the one that stays with the digest.
    pub tags: Vec<String>,
}

/// What is left to do.
#[must_use]
pub fn plan(build: &Build) -> Plan {
    let status = build.status.clone().unwrap_or_default();
    let built = build.metadata.deletion_timestamp.is_none()
        && status.image.section.state == Some(State::Completed);
    let digest = status
        .image
        .digest
        .as_deref()
        .and_then(|digest| digest.parse().ok());
    let (true, Some(digest), Some(staging)) = (built, digest, status.image.staging.clone()) else {
        return Plan::Nothing;
    };

    let publish = &status.publish;
    let jobs = jobs(build, &status.image, &publish.registries, &digest);
    if jobs.is_empty() && publish.section.state == Some(State::Completed) {
        return Plan::Published;
    }

    if build.is_superseded() {
        return Plan::Superseded;
    }

    Plan::Publish(Image {
        digest,
        staging,
        jobs,
    })
}

fn jobs(
    build: &Build,
    image: &ImageSection,
    published: &[PublishedTo],
    digest: &Digest,
) -> Vec<Job> {
    let built = image.sources.first().map(|source| source.commit.as_str());
    let commit = built.or(build.spec.commit());
    let own = commit.map(|commit| names::tag(commit, &build.name_any()));
    let job = |registry: &ContainerRegistry| {
        let mut tags = registry.tags.clone();
        tags.extend(own.clone().filter(|own| !registry.tags.contains(own)));
        Job {
            registry: registry.clone(),
            tags,
        }
    };

    let has = |job: &Job| {
        let found = published
            .iter()
            .find(|one| one.url == job.registry.url && one.state == State::Completed);
        found.is_some_and(|one| {
            one.digest.as_deref() == Some(digest.as_str())
                && job.tags.iter().all(|tag| one.tags.contains(tag))
        })
    };

    build
        .spec
        .container_registries
        .iter()
        .map(job)
        .filter(|job| !has(job))
        .collect()
}

impl Job {
    /// That it asks for nothing that is not there yet.
    ///
    /// # Errors
    /// It does.
    pub fn supported(&self) -> Result<(), Error> {
        match &self.registry {
            registry if registry.create_repository => Err(Error::Unsupported("createRepository")),
            registry if registry.deletion_policy == Some(DeletionPolicy::Delete) => {
                Err(Error::Unsupported("deletionPolicy Delete"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::labels::SUPERSEDED_BY;
    use serde_json::{Value, json};

    use super::*;

    const COMMIT: &str = "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a";
    const SOON: &str = "2026-01-01T00:00:10Z";

    fn build(publish: &Value) -> Build {
        let digest = Digest::of(b"image");
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build",
            "metadata": {"name": "w-myapp-4f2a91c-tn6r3b", "generation": 1},
            "spec": {
                "name": "myapp",
                "containerRegistries": [{"url": "a.test/x", "tags": ["dev"]}, {"url": "b.test/x", "tags": ["dev"]}],
                "importContent": [{"contentFrom": {"git": {"url": "https://github.com/a/b", "commit": COMMIT}}}],
            },
            "status": {
                "image": {"rev": 1, "state": "Completed", "digest": digest.as_str(), "staging": "b/n/k"},
                "publish": publish,
            },
        }))
        .unwrap()
    }

    fn done(url: &str, tags: &[&str]) -> Value {
        json!({"url": url, "state": "Completed", "digest": Digest::of(b"image").as_str(), "tags": tags})
    }

    fn jobs(build: &Build) -> Vec<Job> {
        match plan(build) {
            Plan::Publish(image) => image.jobs,
            other => panic!("{other:?}"),
        }
    }

    fn urls(build: &Build) -> Vec<String> {
        jobs(build)
            .into_iter()
            .map(|job| job.registry.url)
            .collect()
    }

    #[test]
    fn what_is_not_built_or_is_going_is_not_published() {
        let mut unbuilt = build(&json!({"rev": 0}));
        unbuilt.status.as_mut().unwrap().image.section.state = Some(State::InProgress);
        assert_eq!(plan(&unbuilt), Plan::Nothing);
        let mut going = build(&json!({"rev": 0}));
        going.metadata.deletion_timestamp = serde_json::from_value(json!(SOON)).unwrap();
        assert_eq!(plan(&going), Plan::Nothing);
        let mut odd = build(&json!({"rev": 0}));
        odd.status.as_mut().unwrap().image.digest = Some("sha256:x".into());
        assert_eq!(plan(&odd), Plan::Nothing);
    }

    #[test]
    fn what_is_superseded_is_not_published_until_it_is_wanted_again() {
        let superseded = |publish: &Value| {
            let mut build = build(publish);
            build
                .annotations_mut()
                .insert(SUPERSEDED_BY.into(), "newer".into());
            build
        };
        let mut build = superseded(&json!({"rev": 0}));
        assert_eq!(plan(&build), Plan::Superseded);

        build.annotations_mut().clear();
        assert_eq!(urls(&build), ["a.test/x", "b.test/x"]);
    }

    #[test]
    fn what_was_published_before_its_place_was_taken_stays_published() {
        let all = ["dev", "seq-4f2a91c0d3e8-tn6r3b"];
        let mut build = build(&json!({
            "rev": 1, "state": "Completed", "observedGeneration": 1,
            "registries": [done("a.test/x", &all), done("b.test/x", &all)],
        }));
        build
            .annotations_mut()
            .insert(SUPERSEDED_BY.into(), "newer".into());
        assert_eq!(plan(&build), Plan::Published);
    }

    #[test]
    fn every_registry_gets_its_tags_and_one_that_stays() {
        let build = build(&json!({"rev": 0}));
        assert_eq!(urls(&build), ["a.test/x", "b.test/x"]);
        assert_eq!(jobs(&build)[0].tags, ["dev", "seq-4f2a91c0d3e8-tn6r3b"]);
    }

    #[test]
    fn a_registry_that_has_the_digest_under_all_tags_is_left_alone() {
        let (all, few) = (["dev", "seq-4f2a91c0d3e8-tn6r3b"], ["dev"]);
        let half =
            json!({"rev": 1, "registries": [done("a.test/x", &all), done("b.test/x", &few)]});
        assert_eq!(urls(&build(&half)), ["b.test/x"]);

        let mut other = done("b.test/x", &all);
        other["digest"] = Digest::of(b"other").as_str().into();
        let other = json!({"rev": 1, "registries": [other]});
        assert_eq!(urls(&build(&other)), ["a.test/x", "b.test/x"]);

        let whole = json!({"rev": 1, "state": "Completed", "registries": [done("a.test/x", &all), done("b.test/x", &all)]});
        assert_eq!(plan(&build(&whole)), Plan::Published);
    }
}
