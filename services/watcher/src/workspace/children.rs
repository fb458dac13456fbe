//! The Components of a Workspace, as its spec lists them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use sequencer_api::component::{ComponentSpec, ComponentTemplate};
use sequencer_api::condition::{ConditionType, Reason, Summary, find, holds};
use sequencer_api::names::Owner;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Component, Workspace, labels};
use sequencer_proto::topics::Kind;
use serde_json::json;

use super::view::WorkspaceView;
use crate::chart::Chart;
use crate::component::ComponentView;
use crate::owned::{Owned, owner_reference};
use crate::plan::{Action, Plan, Target};

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

fn being_made() -> Summary {
    Summary::no(Reason::InProgress, "being made")
}

/// The summaries of a Component: nothing of it counts before its own status says so.
fn reported(found: &ComponentView) -> Summary {
    let conditions = &found.before.conditions;
    let reported = find(conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.observed_generation == Some(found.subject.generation));
    let ready = found.ready();
    if !reported || (ready.holds && !holds(conditions, ConditionType::Ready)) {
        return being_made();
    }

    ready
}

/// The components of the spec, in its order.
pub(super) fn children(
    workspace: &Workspace,
    owned: &Arc<Owned>,
    chart: &Arc<Chart>,
    now: Timestamp,
) -> Vec<Child> {
    let child = |template: &ComponentTemplate| {
        let wanted = component(workspace, template);
        let found = owned
            .components
            .iter()
            .find(|found| found.name_any() == wanted.name_any());
        let current = found.is_some_and(|found| found.spec == wanted.spec);
        let found = found.map(|found| ComponentView::new(found.clone(), owned.clone(), chart, now));
        let reported = found.as_ref().map_or_else(being_made, reported);

        Child {
            name: template.name.clone(),
            wanted,
            found,
            ready: if current {
                reported.clone()
            } else {
                being_made()
            },
            reported,
        }
    };
    workspace.spec.components.iter().map(child).collect()
}

/// Makes what is missing, changes what differs, deletes what is listed no more.
pub(super) fn follow(plan: &mut Plan, view: &WorkspaceView) {
    for child in &view.children {
        match &child.found {
            None => plan
                .actions
                .push(Action::create(Kind::Component, &child.wanted)),
            Some(found) if found.component.spec != child.wanted.spec => {
                let change = change(&view.workspace, &found.component, &child.wanted);
                plan.actions.extend(change);
            }
            Some(_) => {}
        }
    }
    for found in &view.owned.components {
        let mut wanted = view.children.iter().map(|child| child.wanted.name_any());
        let listed = wanted.any(|wanted| wanted == found.name_any());
        if !listed && found.metadata.deletion_timestamp.is_none() {
            let target = Target::of(Kind::Component, found.as_ref());
            plan.actions.push(Action::Delete(target));
        }
    }
}

/// A Component as its Workspace wants it.
pub(super) fn component(workspace: &Workspace, template: &ComponentTemplate) -> Component {
    let (name, uid) = (workspace.name_any(), workspace.uid_str());
    let namespace = workspace.namespace_str();
    let spec = ComponentSpec {
        template: template.clone(),
        update_policy: workspace.spec.update_policy.clone(),
        paused: workspace.spec.paused,
    };

    let made = Owner::of(workspace).component(&template.name);
    let mut component = Component::new(&made, spec);
    let label = [
        (labels::MANAGED_BY, labels::SEQUENCER),
        (labels::NAME, &template.name),
        (labels::PART_OF, &name),
        (labels::INSTANCE, &made),
        (labels::WORKSPACE, &name),
        (labels::WORKSPACE_NAMESPACE, namespace),
        (labels::WORKSPACE_UID, uid),
        (labels::COMPONENT, &template.name),
    ];
    component.metadata.labels = Some(owned(&label));
    component.metadata.annotations = Some(owned(&[(
        labels::WORKSPACE_GENERATION,
        &generation(workspace),
    )]));
    component.metadata.owner_references = owner_reference(workspace).map(|owner| vec![owner]);
    component.metadata.namespace = Some(namespace.into());
    component
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn generation(workspace: &Workspace) -> String {
    workspace
        .metadata
        .generation
        .unwrap_or_default()
        .to_string()
}

/// The new spec, unless somebody projected a newer generation meanwhile.
fn change(workspace: &Workspace, found: &Component, wanted: &Component) -> Option<Action> {
    let path = format!(
        "/metadata/annotations/{}",
        labels::WORKSPACE_GENERATION.replace('/', "~1")
    );
    let projected = found.annotations().get(labels::WORKSPACE_GENERATION)?;
    if projected
        .parse::<i64>()
        .is_ok_and(|projected| projected > workspace.generation())
    {
        return None;
    }

    let operations = json!([
        {"op": "test", "path": path, "value": projected},
        {"op": "replace", "path": path, "value": generation(workspace)},
        {"op": "replace", "path": "/spec", "value": wanted.spec},
    ]);

    Some(Action::Patch {
        target: Target::of(Kind::Component, found),
        operations,
    })
}
