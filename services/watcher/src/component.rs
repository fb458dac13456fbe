//! A Component: its branches resolved, its image built, its pods rolled out.

mod builds;
mod dependencies;
mod plan;
mod status;
mod view;

use std::sync::Arc;

use jiff::Timestamp;
use sequencer_api::Component;
use sequencer_api::condition::{ConditionType, Summary};
use sequencer_api::status::component::ComponentStatus;
use sequencer_proto::topics::Kind;

use crate::cache::{Cache, Index};
use crate::error::Error;
use crate::events::transitions;
use crate::plan::{Event, Plan, Subject, Target};
use crate::reconcile::{Context, Reconciled};
use crate::triggers::Triggers;

pub(crate) use builds::{desired, resolved};
pub use view::ComponentView;

impl Reconciled for ComponentView {
    type Object = Component;
    type Status = ComponentStatus;
    const KIND: Kind = Kind::Component;

    fn index(cache: &Cache) -> &Index<Component> {
        &cache.components
    }

    fn changed(component: &Component, cache: &Cache, triggers: &Triggers) {
        triggers.component(cache, component);
    }

    async fn observe(
        component: Arc<Component>,
        context: &Context,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let owned = context.cache.owned_with(&component).map(Arc::new);
        Ok(owned.map(|owned| Self::new(component, owned, &context.chart, now)))
    }

    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn before(&self) -> &ComponentStatus {
        &self.before
    }

    fn plan(&self) -> Plan {
        plan::plan(self)
    }

    fn status(&self) -> ComponentStatus {
        status::status(self)
    }

    /// What went wrong is an Event of its Workspace as well.
    fn events(&self, after: &ComponentStatus) -> Vec<Event> {
        let workspace = self.owned.workspace.as_deref();
        let mut events = transitions(
            &self.subject.target,
            &self.before.conditions,
            &after.conditions,
            workspace.is_none(),
        );

        let above = workspace.filter(|_| events.iter().any(|event| event.warning));
        // One that waits for a failed one has nothing to add.
        let trouble = above.and_then(|_| status::trouble(self));
        if let Some((workspace, trouble)) = above.zip(trouble) {
            let name = &self.component.spec.template.name;
            let named = Summary {
                message: format!("{name}: {}", trouble.message),
                ..trouble
            };

            let target = Target::of(Kind::Workspace, workspace);
            let code = named.reason.code();
            events.extend(code.map(|code| Event::wrong(&target, code, named.text())));
        }

        events
    }

    /// For an image.
    fn waits(&self) -> bool {
        self.before.deploy.pulling.is_some()
    }

    /// Those that its siblings wait for.
    fn depended_on(&self) -> Vec<ConditionType> {
        let name = &self.component.spec.template.name;
        let siblings = self.owned.components.iter();
        siblings
            .flat_map(|sibling| &sibling.spec.template.depends_on)
            .filter(|dependency| dependency.component_name == *name)
            .map(|dependency| dependency.condition_type)
            .collect()
    }
}
