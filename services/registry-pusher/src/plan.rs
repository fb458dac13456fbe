//! What is left to do for a Build. Pure.

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::build::{ContainerRegistry, DeletionPolicy};
use sequencer_api::status::State;
use sequencer_api::status::build::{ImageSection, PublishedTo};
use sequencer_api::{Build, names};
use sequencer_proto::topics::ASKED;
use sequencer_runtime::retry::due;

use crate::credentials::Versions;
use crate::digest::Digest;
use crate::error::Error;

/// What follows from a Build as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing to publish: it is not built, or is going.
    Stale,
    /// Everything is published, or it is not time yet to try again.
    Done,
    /// Not yet, unless one of these Secrets has changed.
    Look(Versions, Work),
    /// Publish.
    Push(Work),
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The image.
    pub digest: Digest,
    /// Its repository in the staging registry.
    pub staging: String,
    /// The registries that do not have it yet, with their tags.
    pub jobs: Vec<Job>,
}

/// One registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// As the Build names it.
    pub registry: ContainerRegistry,
    /// Its own tags, and the one that stays with the digest.
    pub tags: Vec<String>,
}

/// What is left to do.
#[must_use]
pub fn plan(build: &Build, why: &str, now: Timestamp) -> Step {
    let status = build.status.clone().unwrap_or_default();
    let built = build.metadata.deletion_timestamp.is_none() && status.image.section.state == Some(State::Completed);
    let digest = status.image.digest.as_deref().and_then(|digest| digest.parse().ok());
    let (true, Some(digest), Some(staging)) = (built, digest, status.image.staging.clone()) else { return Step::Stale };
    let publish = &status.publish;
    let jobs = jobs(build, &status.image, &publish.registries, &digest);
    if jobs.is_empty() && publish.section.state == Some(State::Completed) {
        return Step::Done;
    }
    let work = Work { digest, staging, jobs };
    let same = publish.section.observed_generation == build.metadata.generation;
    match &publish.section.retry {
        Some(retry) if same && why != ASKED && !due(retry.next_attempt_at.0, false, now) => {
            // A claim is in the section only until a record takes its place: this one ended in none.
            if publish.section.claim.is_some() {
                Step::Push(work)
            } else if retry.secret_versions.is_empty() {
                Step::Done
            } else {
                Step::Look(retry.secret_versions.clone(), work)
            }
        }
        _ => Step::Push(work),
    }
}

fn jobs(build: &Build, image: &ImageSection, published: &[PublishedTo], digest: &Digest) -> Vec<Job> {
    let given = build.spec.import_content.first().and_then(|import| import.content_from.git.as_ref()?.commit.clone());
    let commit = image.sources.first().map(|source| source.commit.clone()).or(given);
    let own = commit.map(|commit| names::tag(&commit, &build.name_any()));
    let job = |registry: &ContainerRegistry| {
        let mut tags = registry.tags.clone();
        tags.extend(own.clone().filter(|own| !registry.tags.contains(own)));
        Job { registry: registry.clone(), tags }
    };
    let has = |job: &Job| {
        let found = published.iter().find(|one| one.url == job.registry.url && one.state == State::Completed);
        found.is_some_and(|one| {
            one.digest.as_deref() == Some(digest.as_str()) && job.tags.iter().all(|tag| one.tags.contains(tag))
        })
    };
    build.spec.container_registries.iter().map(job).filter(|job| !has(job)).collect()
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

    fn at(build: &Build, why: &str) -> Step {
        plan(build, why, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn urls(step: &Step) -> Vec<&str> {
        match step {
            Step::Push(work) | Step::Look(_, work) => work.jobs.iter().map(|job| job.registry.url.as_str()).collect(),
            Step::Stale | Step::Done => Vec::new(),
        }
    }

    #[test]
    fn what_is_not_built_or_is_going_is_not_published() {
        let mut unbuilt = build(&json!({"rev": 0}));
        unbuilt.status.as_mut().unwrap().image.section.state = Some(State::InProgress);
        assert_eq!(at(&unbuilt, ""), Step::Stale);
        let mut going = build(&json!({"rev": 0}));
        going.metadata.deletion_timestamp = serde_json::from_value(json!(SOON)).unwrap();
        assert_eq!(at(&going, ""), Step::Stale);
        let mut odd = build(&json!({"rev": 0}));
        odd.status.as_mut().unwrap().image.digest = Some("sha256:x".into());
        assert_eq!(at(&odd, ""), Step::Stale);
    }

    #[test]
    fn every_registry_gets_its_tags_and_one_that_stays() {
        let step = at(&build(&json!({"rev": 0})), "");
        assert_eq!(urls(&step), ["a.test/x", "b.test/x"]);
        let Step::Push(work) = step else { panic!("{step:?}") };
        assert_eq!(work.jobs[0].tags, ["dev", "seq-4f2a91c0d3e8-tn6r3b"]);
    }

    #[test]
    fn a_registry_that_has_the_digest_under_all_tags_is_left_alone() {
        let (all, few) = (["dev", "seq-4f2a91c0d3e8-tn6r3b"], ["dev"]);
        let half = json!({"rev": 1, "registries": [done("a.test/x", &all), done("b.test/x", &few)]});
        assert_eq!(urls(&at(&build(&half), "")), ["b.test/x"]);
        let mut other = done("b.test/x", &all);
        other["digest"] = Digest::of(b"other").as_str().into();
        assert_eq!(urls(&at(&build(&json!({"rev": 1, "registries": [other]})), "")), ["a.test/x", "b.test/x"]);
        let whole =
            json!({"rev": 1, "state": "Completed", "registries": [done("a.test/x", &all), done("b.test/x", &all)]});
        assert_eq!(at(&build(&whole), ASKED), Step::Done);
    }

    #[test]
    fn a_failure_waits_for_its_time_its_secret_or_a_person() {
        let failed = |secrets: Value, generation: i64| {
            let retry = json!({"attempts": 1, "nextAttemptAt": SOON, "code": "E#1020", "message": "", "secretVersions": secrets});
            build(&json!({"rev": 1, "state": "Error", "observedGeneration": generation, "retry": retry}))
        };
        assert_eq!(at(&failed(json!({}), 1), ""), Step::Done);
        assert!(matches!(at(&failed(json!({"n/s": "7"}), 1), ""), Step::Look(versions, _) if versions["n/s"] == "7"));
        assert!(matches!(at(&failed(json!({}), 1), ASKED), Step::Push(_)));
        assert!(matches!(at(&failed(json!({}), 0), ""), Step::Push(_)));
        assert!(matches!(plan(&failed(json!({}), 1), "", SOON.parse().unwrap()), Step::Push(_)));
        let mut taken_up = failed(json!({}), 1);
        taken_up.status.as_mut().unwrap().publish.section.claim =
            serde_json::from_value(json!({"holder": "a/1", "until": SOON})).unwrap();
        assert!(matches!(at(&taken_up, ""), Step::Push(_)));
    }
}
