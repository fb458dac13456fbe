//! What is known of a Build, found out once.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use sequencer_api::host::Refusal;
use sequencer_api::owner::controller;
use sequencer_api::status::Section;
use sequencer_api::status::build::BuildStatus;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component};
use sequencer_proto::topics::{Kind, Pool};
use sequencer_runtime::section::{Due, Wanted, due};
use uuid::Uuid;

use crate::chart::Chart;
use crate::plan::Subject;
use crate::pools;
use crate::retry::Retry;

/// What is known of a Build.
pub struct BuildView {
    pub(super) subject: Subject,
    pub(super) build: Arc<Build>,
    pub(super) before: BuildStatus,
    pub(super) pool: Result<Pool, Refusal>,
    /// Whether it has to wait for others of its namespace.
    pub(super) held: bool,
}

impl BuildView {
    /// From what is cached. `owner` is the uid that its commands carry.
    pub fn new(build: Arc<Build>, owner: Uuid, held: bool, chart: &Chart, now: Timestamp) -> Self {
        let namespace = build.namespace_str();
        let retry = Retry::of(build.as_ref(), &[]);

        Self {
            subject: Subject::of(Kind::Build, build.as_ref(), owner, retry, now),
            before: build.status.clone().unwrap_or_default(),
            pool: pools::open(&chart.pools, &build.spec.runtime.pool, namespace),
            held,
            build,
        }
    }

    /// The same, tried again by who asks for it on what it belongs to as well.
    #[must_use]
    pub fn asked_by(mut self, owners: &[Option<&ObjectMeta>]) -> Self {
        self.subject.retry = Retry::of(self.build.as_ref(), owners);
        self
    }

    /// Whether nobody made it but a user.
    pub(super) fn is_standalone(&self) -> bool {
        controller::<Component>(self.build.as_ref()).is_none()
    }
}

/// Whether a Build has to wait for others of its namespace: so many as may run at once are built,
/// or are before it in its pool's queue. One that failed holds nobody up until it is tried again.
#[must_use]
pub(super) fn waits_for_its_turn(
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
        let wanted = Wanted {
            generation: other.generation(),
            finished: false,
            asked: false,
        };
        let waits = due(&section(other), wanted, None, now) == Due::Now;
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
