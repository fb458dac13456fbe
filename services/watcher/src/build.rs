//! A Build: built, then published.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::condition::Summary;
use sequencer_api::host::Refusal;
use sequencer_api::owner::controller;
use sequencer_api::status::Section;
use sequencer_api::status::build::BuildStatus;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component};
use sequencer_proto::topics::{Kind, Pool, Verb};
use sequencer_runtime::section::Due;
use uuid::Uuid;

use crate::cache::{Cache, Index};
use crate::chart::Chart;
use crate::error::Error;
use crate::events::transitions;
use crate::notifier::{due_of, notification, notify};
use crate::owned::retry_word;
use crate::plan::{Event, Plan, Policy, Subject};
use crate::pools;
use crate::reconcile::{Context, Reconciled};
use crate::triggers::Triggers;

mod status;
#[cfg(test)]
mod tests;

/// What is known of a Build.
pub struct BuildView {
    subject: Subject,
    build: Arc<Build>,
    before: BuildStatus,
    pool: Result<Pool, Refusal>,
    /// Whether it has to wait for others of its namespace.
    held: bool,
}

impl BuildView {
    /// From what is cached. `owner` is the uid that its commands carry.
    pub fn new(build: Arc<Build>, owner: Uuid, held: bool, chart: &Chart, now: Timestamp) -> Self {
        let namespace = build.namespace_str();
        let retry = retry_word(build.as_ref()).to_owned();

        Self {
            subject: Subject::of(Kind::Build, build.as_ref(), owner, retry, now),
            before: build.status.clone().unwrap_or_default(),
            pool: pools::open(&chart.pools, &build.spec.runtime.pool, namespace),
            held,
            build,
        }
    }

    /// What `Ready` says.
    pub(crate) fn ready(&self) -> Summary {
        status::ready(self)
    }

    fn is_standalone(&self) -> bool {
        controller::<Component>(self.build.as_ref()).is_none()
    }
}

impl Reconciled for BuildView {
    type Object = Build;
    type Status = BuildStatus;
    const KIND: Kind = Kind::Build;

    fn index(cache: &Cache) -> &Index<Build> {
        &cache.builds
    }

    fn changed(build: &Build, cache: &Cache, triggers: &Triggers) {
        triggers.build(cache, build);
    }

    async fn observe(
        build: Arc<Build>,
        context: &Context,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let (cache, chart) = (&context.cache, &context.chart);
        let held = waits_for_its_turn(
            &build,
            &cache.pending_builds(&build),
            chart.limits.builds,
            now,
        );
        let owner = cache.owner_of_build(&build);
        Ok(Some(Self::new(build, owner, held, chart, now)))
    }

    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn before(&self) -> &BuildStatus {
        &self.before
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let (subject, status) = (&self.subject, &self.before);

        if self.held || self.build.metadata.deletion_timestamp.is_some() {
            return plan;
        }

        if self.build.is_superseded() {
            withdraw(&mut plan, subject, &status.publish.section);
            return plan;
        }

        let (image, publish) = (&status.image.section, &status.publish.section);

        if self.build.is_built() {
            let settled = self.build.is_published();
            notify(&mut plan, subject, Verb::Push, None, publish, settled, "");
        } else if let Ok(pool) = &self.pool {
            let pool = Some(pool.clone());
            notify(&mut plan, subject, Verb::Build, pool, image, false, "");
        }

        plan
    }

    fn status(&self) -> BuildStatus {
        status::status(self)
    }

    fn events(&self, after: &BuildStatus) -> Vec<Event> {
        let before = &self.before.conditions;
        let target = &self.subject.target;
        transitions(target, before, &after.conditions, self.is_standalone())
    }
}

/// Whether a Build has to wait for others of its namespace: so many as may run at once are built,
/// or are before it in its pool's queue. One that failed holds nobody up until it is tried again.
#[must_use]
pub fn waits_for_its_turn(
    build: &Build,
    others: &[Arc<Build>],
    limit: usize,
    now: Timestamp,
) -> bool {
    let runs = |build: &Build| matches!(section(build).claim, Some(claim) if claim.until.0 > now);
    if limit == 0 || !build.is_pending() || runs(build) {
        return false;
    }

    let age = |of: &Build| (of.creation_timestamp().map(|created| created.0), of.uid());
    let before = |other: &Build| {
        let generation = other.generation();
        let waits = due_of(&section(other), false, generation, now) == Due::Now;
        waits && other.spec.runtime.pool == build.spec.runtime.pool && age(other) < age(build)
    };

    let others = others
        .iter()
        .filter(|other| other.uid() != build.uid() && other.is_pending());
    others.filter(|other| runs(other) || before(other)).count() >= limit
}

fn section(build: &Build) -> Section {
    build
        .status
        .as_ref()
        .map(|status| status.image.section.clone())
        .unwrap_or_default()
}

/// Has what was begun of a publication taken back, once: nothing of it is tried again.
fn withdraw(plan: &mut Plan, subject: &Subject, section: &Section) {
    if section.retry.is_some() || section.claim.is_some() {
        let key = format!("{}/{}/superseded", subject.generation, section.rev);
        plan.notifications
            .push(notification(subject, Verb::Push, None, key, Policy::Now));
    }
}
