//! The Components of a Workspace, as its spec lists them.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::component::{ComponentSpec, ComponentTemplate};
use sequencer_api::condition::{Reason, Summary};
use sequencer_api::names::Owner;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Component, Workspace, labels};
use sequencer_proto::topics::Kind;

use crate::chart::Chart;
use crate::component::ComponentView;
use crate::conditions::as_reported;
use crate::owned::{Owned, owner_reference};

/// A component of the spec.
pub(super) struct Child {
    /// Its name in the spec.
    pub(super) name: String,
    /// The Component that it shall be.
    pub(super) wanted: Component,
    /// The one that is there.
    pub(super) found: Option<ComponentView>,
    /// Its summary, however old its spec is.
    pub(super) reported: Summary,
    /// Its summary for the spec as it is now.
    pub(super) ready: Summary,
}

fn creating() -> Summary {
    Summary::no(Reason::InProgress, "creating")
}

fn reported(found: &ComponentView) -> Summary {
    let conditions = &found.before.conditions;
    as_reported(
        found.ready(),
        conditions,
        found.subject.generation,
        creating(),
    )
}

/// The components of the spec, in its order.
pub(super) fn children(
    workspace: &Workspace,
    owned: &Arc<Owned>,
    chart: &Arc<Chart>,
    now: Timestamp,
) -> Vec<Child> {
    let denied = owned.denied(workspace);
    let child = |template: &ComponentTemplate| {
        let wanted = component(workspace, template);
        let name = wanted.name_any();
        let denied = denied
            .iter()
            .find(|denied| denied.is(Kind::Component, &name))
            .map(|denied| denied.summary(now));
        let found = owned
            .components
            .iter()
            .find(|found| found.name_any() == name);
        let current = found.is_some_and(|found| found.spec == wanted.spec);
        let found = found.map(|found| ComponentView::new(found.clone(), owned.clone(), chart, now));
        let missing = denied.unwrap_or_else(creating);
        let reported = found.as_ref().map_or_else(|| missing.clone(), reported);

        Child {
            name: template.name.clone(),
            wanted,
            found,
            ready: if current { reported.clone() } else { missing },
            reported,
        }
    };
    workspace.spec.components.iter().map(child).collect()
}

/// A Component as its Workspace wants it.
pub(super) fn component(workspace: &Workspace, template: &ComponentTemplate) -> Component {
    let (owner, namespace) = (Owner::of(workspace), workspace.namespace_str());
    let spec = ComponentSpec {
        template: template.clone(),
        update_policy: workspace.spec.update_policy.clone(),
        paused: workspace.spec.paused,
    };

    let made = owner.component(&template.name);
    let mut component = Component::new(&made, spec);
    let mut marks = labels::made_for(owner, namespace);
    marks.extend(labels::map([
        (labels::NAME, template.name.as_str()),
        (labels::INSTANCE, &made),
        (labels::COMPONENT, &template.name),
    ]));
    component.metadata.labels = Some(marks);
    let generation = workspace.generation().to_string();
    component.metadata.annotations = Some(labels::map([(
        labels::WORKSPACE_GENERATION,
        generation.as_str(),
    )]));
    component.metadata.owner_references = owner_reference(workspace).map(|owner| vec![owner]);
    component.metadata.namespace = Some(namespace.into());
    component
}
