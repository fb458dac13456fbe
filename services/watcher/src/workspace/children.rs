//! The Components of a Workspace, as its spec lists them.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use sequencer_api::component::{ComponentSpec, ComponentTemplate};
use sequencer_api::names::Owner;
use sequencer_api::{Component, Workspace, labels};
use sequencer_proto::topics::Kind;
use serde_json::json;

use crate::family::{Family, controller, is_of};
use crate::plan::{Action, Plan, Target};

/// Makes what is missing, changes what differs, deletes what is listed no more.
pub(super) fn follow(plan: &mut Plan, workspace: &Workspace, family: &Family) {
    for template in &workspace.spec.components {
        let wanted = component(workspace, template);
        match family.components.iter().find(|found| found.name_any() == wanted.name_any()) {
            None => plan.actions.push(Action::create(Kind::Component, &wanted)),
            Some(found) if found.spec != wanted.spec => plan.actions.extend(change(workspace, found, &wanted)),
            Some(_) => {}
        }
    }
    let uid = workspace.uid().unwrap_or_default();
    for found in family.components.iter().filter(|found| is_of(found.as_ref(), &uid)) {
        let listed = workspace.spec.components.iter().any(|template| template.name == found.spec.template.name);
        if !listed && found.metadata.deletion_timestamp.is_none() {
            plan.actions.push(Action::Delete(Target::of(Kind::Component, found.as_ref())));
        }
    }
}

/// Whether every Component is there as the spec has it.
pub(super) fn current<'a>(workspace: &Workspace, family: &'a Family) -> Vec<(String, Option<&'a Component>)> {
    let found = |template: &ComponentTemplate| {
        let wanted = component(workspace, template);
        let found = family.components.iter().map(AsRef::as_ref);
        found
            .clone()
            .into_iter()
            .find(|found: &&Component| found.name_any() == wanted.name_any() && found.spec == wanted.spec)
    };
    workspace.spec.components.iter().map(|template| (template.name.clone(), found(template))).collect()
}

/// A Component as its Workspace wants it.
fn component(workspace: &Workspace, template: &ComponentTemplate) -> Component {
    let (name, uid) = (workspace.name_any(), workspace.uid().unwrap_or_default());
    let namespace = workspace.namespace().unwrap_or_default();
    let spec = ComponentSpec {
        template: template.clone(),
        update_policy: workspace.spec.update_policy.clone(),
        paused: workspace.spec.paused,
    };
    let made = Owner { name: &name, uid: &uid }.component(&template.name);
    let mut component = Component::new(&made, spec);
    let label = [
        (labels::MANAGED_BY, labels::SEQUENCER),
        (labels::NAME, &template.name),
        (labels::PART_OF, &name),
        (labels::INSTANCE, &made),
        (labels::WORKSPACE, &name),
        (labels::WORKSPACE_NAMESPACE, &namespace),
        (labels::WORKSPACE_UID, &uid),
        (labels::COMPONENT, &template.name),
    ];
    component.metadata.labels = Some(owned(&label));
    component.metadata.annotations = Some(owned(&[(labels::WORKSPACE_GENERATION, &generation(workspace))]));
    component.metadata.owner_references = controller(workspace).map(|owner| vec![owner]);
    component.metadata.namespace = Some(namespace);
    component
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn generation(workspace: &Workspace) -> String {
    workspace.metadata.generation.unwrap_or_default().to_string()
}

/// The new spec, unless somebody projected a newer generation meanwhile, or it is another's.
fn change(workspace: &Workspace, found: &Component, wanted: &Component) -> Option<Action> {
    if !is_of(found, &workspace.uid()?) {
        return None;
    }
    let path = format!("/metadata/annotations/{}", labels::WORKSPACE_GENERATION.replace('/', "~1"));
    let projected = found.annotations().get(labels::WORKSPACE_GENERATION)?;
    if projected.parse::<i64>().is_ok_and(|projected| projected > workspace.metadata.generation.unwrap_or_default()) {
        return None;
    }
    let operations = json!([
        {"op": "test", "path": path, "value": projected},
        {"op": "replace", "path": path, "value": generation(workspace)},
        {"op": "replace", "path": "/spec", "value": wanted.spec},
    ]);
    Some(Action::Patch { target: Target::of(Kind::Component, found), operations })
}
