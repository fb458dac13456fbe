//! A Build: built, then published.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use sequencer_api::Build;
use sequencer_api::build::BuildSpec;
use sequencer_api::code::Code;
use sequencer_api::labels::{self, commit12};
use sequencer_api::status::build::{BuildPhase, BuildStatus};
use sequencer_api::status::{Section, State};
use sequencer_proto::topics::{Kind, Pool, Verb};

use crate::conditions::{Conditions, Fact, Reason, worst};
use crate::family::retry_word;
use crate::plan::{Plan, Target, told};
use crate::section::{Due, due, is};
use crate::wakes::{Work, call};

/// Whether it may have to be built yet.
#[must_use]
pub fn unbuilt(build: &Build) -> bool {
    let status = build.status.clone().unwrap_or_default();
    let built = is_built(&status, build.metadata.generation.unwrap_or_default());
    !built && !superseded(build) && build.metadata.deletion_timestamp.is_none()
}

/// Whether a Build has to wait for others of its namespace: so many as may run at once are built, or are before it in its
/// pool's queue. One that failed holds nobody up until it is tried again.
#[must_use]
pub fn waits_for_its_turn(build: &Build, others: &[Arc<Build>], limit: usize, now: Timestamp) -> bool {
    let runs = |build: &Build| matches!(section(build).claim, Some(claim) if claim.until.0 > now);
    if limit == 0 || !unbuilt(build) || runs(build) {
        return false;
    }
    let age = |of: &Build| (of.creation_timestamp().map(|created| created.0), of.uid());
    let before = |other: &Build| {
        let generation = other.metadata.generation.unwrap_or_default();
        let waits = due(&section(other), false, generation, now) == Due::Now;
        waits && other.spec.runtime.pool == build.spec.runtime.pool && age(other) < age(build)
    };
    let others = others.iter().filter(|other| other.uid() != build.uid() && unbuilt(other));
    others.filter(|other| runs(other) || before(other)).count() >= limit
}

fn section(build: &Build) -> Section {
    build.status.as_ref().map(|status| status.image.section.clone()).unwrap_or_default()
}

/// What is left to do for a Build; nothing yet if it is `held`.
#[must_use]
pub fn plan(build: &Build, pools: &[Pool], held: bool, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if held || build.metadata.deletion_timestamp.is_some() || superseded(build) {
        return plan;
    }
    let Some(pool) = pool(&build.spec, pools) else { return plan };
    let status = build.status.clone().unwrap_or_default();
    let generation = build.metadata.generation.unwrap_or_default();
    let target = Target::of(Kind::Build, build);
    let work =
        Work { target: &target, workspace: crate::family::root(build), generation, retry: retry_word(build), now };
    let built = is_built(&status, generation);
    let (verb, pool, section, settled) = if built {
        (Verb::Push, None, &status.publish.section, is_published(&status, generation))
    } else {
        (Verb::Build, Some(pool), &status.image.section, false)
    };
    call(&mut plan, &work, verb, pool, section, settled, "");
    plan
}

fn pool(spec: &BuildSpec, pools: &[Pool]) -> Option<Pool> {
    pools.iter().find(|pool| pool.as_str() == spec.runtime.pool).cloned()
}

fn is_built(status: &BuildStatus, generation: i64) -> bool {
    is(&status.image.section, State::Completed, generation)
}

/// Whether all registries have it.
#[must_use]
pub fn is_published(status: &BuildStatus, generation: i64) -> bool {
    is(&status.publish.section, State::Completed, generation)
}

/// Whether a newer commit took its place before it was built: nobody needs it any more.
#[must_use]
pub fn superseded(build: &Build) -> bool {
    build.annotations().contains_key(labels::SUPERSEDED_BY)
        && !build.status.as_ref().is_some_and(|status| is_built(status, build.metadata.generation.unwrap_or_default()))
}

/// The commit that stands for a Build: its first import's.
#[must_use]
pub fn commit(spec: &BuildSpec) -> &str {
    let git = spec.import_content.first().and_then(|import| import.content_from.git.as_ref());
    git.and_then(|git| git.commit.as_deref()).unwrap_or_default()
}

/// The watcher's part of a Build's status.
#[must_use]
pub fn status(build: &Build, pools: &[Pool], held: bool, now: Timestamp) -> BuildStatus {
    let before = build.status.clone().unwrap_or_default();
    let generation = build.metadata.generation.unwrap_or_default();
    let Facts { image, publish, ready } = facts(build, &before, pools, held);
    let phase = phase(&ready, &image);
    let mut conditions = Conditions::new(&before.conditions, generation, now);
    conditions.add("Image", &image);
    conditions.add("Publish", &publish);
    let conditions: Vec<Condition> = conditions.finish(
        &ready,
        false,
        &format!("change the Dockerfile or the Component, or annotate it with {}", labels::RETRY),
    );
    BuildStatus { observed_generation: generation, phase, conditions, ..before }
}

/// What is to be said of a Build whose own status does not say it yet.
#[must_use]
pub fn ready(build: &Build, pools: &[Pool]) -> Fact {
    facts(build, &build.status.clone().unwrap_or_default(), pools, false).ready
}

struct Facts {
    image: Fact,
    publish: Fact,
    ready: Fact,
}

fn facts(build: &Build, status: &BuildStatus, pools: &[Pool], held: bool) -> Facts {
    let generation = build.metadata.generation.unwrap_or_default();
    let image = match image(build, status, pools, generation) {
        fact if held && fact.reason == Reason::Waiting => {
            Fact::no(Reason::Waiting, "waits until fewer Builds of this namespace run")
        }
        fact => fact,
    };
    let publish = publish(status, &image, generation);
    let mut ready = worst([&image, &publish]).cloned().unwrap_or_else(|| Fact::no(Reason::Waiting, ""));
    if ready.holds {
        ready = Fact::yes(Reason::Completed, status.publish.image.clone().unwrap_or_default());
    }
    if superseded(build) {
        let by = build.annotations().get(labels::SUPERSEDED_BY).map_or("", String::as_str);
        ready = Fact::no(Reason::Superseded, format!("{by} took its place"));
    }
    if build.metadata.deletion_timestamp.is_some() {
        ready = Fact::no(Reason::Terminating, "being deleted");
    }
    Facts { image, publish, ready }
}

fn image(build: &Build, status: &BuildStatus, pools: &[Pool], generation: i64) -> Fact {
    let section = &status.image;
    if pool(&build.spec, pools).is_none() {
        let known: Vec<_> = pools.iter().map(Pool::as_str).collect();
        let pool = &build.spec.runtime.pool;
        return Fact::no(
            Reason::Error,
            told(Code::UNKNOWN_POOL, &format!("no pool {pool:?}; known: {}", known.join(", "))),
        );
    }
    if is(&section.section, State::Completed, generation) {
        return Fact::yes(Reason::Completed, section.digest.clone().unwrap_or_default());
    }
    if let Some(wrong) = Fact::wrong(&section.section, section.failure.as_ref(), generation) {
        return wrong;
    }
    let commit = commit12(commit(&build.spec));
    match &section.section.claim {
        Some(_) => Fact::no(Reason::InProgress, format!("building {commit} in pool {}", build.spec.runtime.pool)),
        None => Fact::no(Reason::Waiting, format!("{commit} waits for a builder of pool {}", build.spec.runtime.pool)),
    }
}

fn publish(status: &BuildStatus, image: &Fact, generation: i64) -> Fact {
    let section = &status.publish;
    if is_published(status, generation) {
        return Fact::yes(Reason::Completed, section.image.clone().unwrap_or_default());
    }
    if !image.holds {
        return Fact::no(Reason::Waiting, "published when it is built");
    }
    Fact::wrong(&section.section, None, generation).unwrap_or_else(|| Fact::no(Reason::InProgress, "publishing"))
}

fn phase(ready: &Fact, image: &Fact) -> BuildPhase {
    match ready.reason {
        Reason::Terminating => BuildPhase::Terminating,
        _ if ready.holds => BuildPhase::Completed,
        Reason::Superseded => BuildPhase::Superseded,
        Reason::Error => BuildPhase::Error,
        _ if image.holds => BuildPhase::Publishing,
        _ if image.reason == Reason::Waiting => BuildPhase::Queued,
        _ => BuildPhase::Building,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn build(age: i64, pool: &str, image: Value) -> Arc<Build> {
        let value = json!({
            "metadata": {"name": format!("b{age}"), "uid": format!("{age}"), "generation": 1, "creationTimestamp": at(age)},
            "spec": {"name": "app", "containerRegistries": [], "importContent": [], "runtime": {"pool": pool}},
            "status": {"image": image},
        });
        serde_json::from_value::<Build>(value).unwrap().into()
    }

    #[test]
    fn what_says_nothing_of_itself_yet_can_be_told_by_others() {
        let pools: [Pool; 1] = ["default".parse().unwrap()];
        let say = |image| {
            let fact = ready(&build(1, "default", image), &pools);
            (fact.reason, fact.message)
        };
        assert_eq!(say(json!({})), (Reason::Waiting, " waits for a builder of pool default".into()));
        let claim = json!({"claim": {"holder": "a", "until": at(200)}});
        assert_eq!(say(claim), (Reason::InProgress, "building  in pool default".into()));
    }

    #[test]
    fn so_many_builds_as_run_or_are_before_it_in_its_pool_hold_one_up() {
        let claim = json!({"claim": {"holder": "a", "until": at(200)}});
        let retry = json!({"attempts": 1, "nextAttemptAt": at(150), "code": "E#1011", "message": ""});
        let failed = json!({"state": "Error", "observedGeneration": 1, "retry": retry});
        let done = json!({"state": "Completed", "observedGeneration": 1});
        let ours = build(50, "default", json!({}));
        let waits =
            |other: &Arc<Build>, limit, now| waits_for_its_turn(&ours, &[other.clone(), ours.clone()], limit, at(now));
        for (other, wanted) in [
            (build(40, "default", json!({})), true),
            (build(60, "default", json!({})), false),
            (build(40, "large", json!({})), false),
            (build(60, "large", claim.clone()), true),
            (build(40, "default", done), false),
        ] {
            assert_eq!(waits(&other, 1, 100), wanted, "{other:?}");
            assert!(!waits(&other, 2, 100) && !waits(&other, 0, 100));
        }
        let failed = build(40, "default", failed);
        assert!(!waits(&failed, 1, 149) && waits(&failed, 1, 150));
        let running = build(60, "large", claim.clone());
        assert!(waits(&running, 1, 199) && !waits(&running, 1, 200));
        let ours = build(50, "default", claim);
        assert!(!waits_for_its_turn(&ours, &[build(40, "default", json!({}))], 1, at(100)));
    }
}
