//! A Workspace: its Components, its host, what leads there, and its end.

mod children;
mod dns;
mod expiry;
mod plan;
mod status;
mod teardown;
mod timings;
mod view;

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use sequencer_api::Workspace;
use sequencer_api::condition::ConditionType;
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_proto::topics::Kind;
use sequencer_runtime::telemetry::root_span;

use crate::cache::{Cache, Index};
use crate::error::Error;
use crate::events;
use crate::plan::{Event, EventReason, Plan, Subject};
use crate::reconcile::{Context, Reconciled};
use crate::triggers::Triggers;

pub use timings::took;
pub use view::WorkspaceView;

impl Reconciled for WorkspaceView {
    type Object = Workspace;
    type Status = WorkspaceStatus;
    const KIND: Kind = Kind::Workspace;

    fn index(cache: &Cache) -> &Index<Workspace> {
        &cache.workspaces
    }

    fn changed(workspace: &Workspace, cache: &Cache, triggers: &Triggers) {
        triggers.workspace(cache, workspace);
    }

    fn gone(workspace: &Workspace, cache: &Cache, triggers: &Triggers) {
        triggers.no_workspace(cache, workspace);
    }

    async fn observe(
        workspace: Arc<Workspace>,
        context: &Context,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let (cache, chart) = (&context.cache, &context.chart);
        let owned = cache.owned_by(&workspace);
        let holder = |name: &str| cache.record(name);
        Ok(Some(Self::new(workspace, owned, &holder, chart, now)))
    }

    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn before(&self) -> &WorkspaceStatus {
        &self.before
    }

    fn plan(&self) -> Plan {
        plan::plan(self)
    }

    fn status(&self) -> WorkspaceStatus {
        status::status(self)
    }

    /// What is wrong with a component, the component's own status says.
    fn events(&self, after: &WorkspaceStatus) -> Vec<Event> {
        let target = &self.subject.target;
        let (before, conditions) = (&self.before.conditions, &after.conditions);
        let own = self.refusal.is_some() || self.is_denied();
        let own = own.then_some(ConditionType::Components);
        let kinds = own.into_iter().chain([
            ConditionType::Tunnel,
            ConditionType::Ingress,
            ConditionType::Dns,
            ConditionType::Route,
            ConditionType::TeardownBlocked,
            ConditionType::Expiring,
        ]);
        let mut events: Vec<_> = kinds
            .filter_map(|kind| events::wrong(target, kind, before, conditions))
            .collect();

        if let Some(mut ready) = events::ready(target, before, conditions) {
            let took = took(&after.timings);
            if !took.is_empty() {
                ready.message = format!("{} ({took})", ready.message);
            }
            events.push(ready);
        }

        events.extend(events::expiring(target, before, conditions));
        events
    }

    fn recorded(&self, events: &[Event]) {
        let ready = |event: &Event| event.reason == EventReason::Ready;
        let first = self.before.url.is_none() && events.iter().any(ready);
        if let Some(created) = self.subject.created.filter(|_| first) {
            let created = SystemTime::from(created);
            root_span("workspace", self.subject.owner, created, Vec::new());
        }
    }
}
