//! A Build: built, then published.

mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use jiff::Timestamp;
use kube::Resource;
use sequencer_api::Build;
use sequencer_api::status::Section;
use sequencer_api::status::build::BuildStatus;
use sequencer_proto::topics::{Kind, Verb};

use crate::cache::{Cache, Index};
use crate::error::Error;
use crate::events::transitions;
use crate::notifier::{notification, notify};
use crate::plan::{Cause, Event, Inputs, Plan, Policy, Subject};
use crate::reconcile::{Context, Reconciled};
use crate::triggers::Triggers;

use view::waits_for_its_turn;

pub use view::BuildView;

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
        let maker = cache.maker(&build);
        let above = maker.as_ref().and_then(|maker| cache.owned_with(maker));
        let workspace = above.and_then(|above| above.workspace);
        let owners = [
            maker.as_deref().map(Resource::meta),
            workspace.as_deref().map(Resource::meta),
        ];
        let view = Self::new(build, owner, held, chart, now);
        Ok(Some(view.asked_by(&owners)))
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
            let cause = Cause::Spec;
            notify(
                &mut plan,
                subject,
                Verb::Push,
                None,
                publish,
                settled,
                cause,
            );
        } else if let Ok(pool) = &self.pool {
            let pool = Some(pool.clone());
            let cause = Cause::Spec;
            notify(&mut plan, subject, Verb::Build, pool, image, false, cause);
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

/// Has what was begun of a publication taken back, once: nothing of it is tried again.
fn withdraw(plan: &mut Plan, subject: &Subject, section: &Section) {
    if section.retry.is_some() || section.claim.is_some() {
        let inputs = Inputs::of(subject, Some(section.rev), Cause::Superseded);
        plan.notifications
            .push(notification(subject, Verb::Push, None, inputs, Policy::Now));
    }
}
