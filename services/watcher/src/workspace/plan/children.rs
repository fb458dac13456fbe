//! The Components of a Workspace, as they have to be.

use kube::ResourceExt as _;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Component, Workspace, labels};
use sequencer_proto::topics::Kind;
use sequencer_runtime::patch::{Operation, add, replace, test};
use serde_json::json;

use crate::plan::{Action, Plan, Target, mended_labels};
use crate::workspace::view::WorkspaceView;

/// Where a Component says which generation of its Workspace it follows.
const GENERATION: [&str; 3] = ["metadata", "annotations", labels::WORKSPACE_GENERATION];

/// Makes what is missing, changes what differs, deletes what is listed no more.
pub(super) fn follow(plan: &mut Plan, view: &WorkspaceView) {
    for child in &view.children {
        match &child.found {
            None => plan.actions.push(Action::create(&child.wanted)),
            Some(found) => {
                let change = change(&view.workspace, &found.component, &child.wanted);
                plan.actions.extend(change);
            }
        }
    }
    // One that has no owner is given it back if it is listed.
    let owned = &view.owned;
    for found in owned.components.iter().chain(&owned.let_go) {
        let mut wanted = view.children.iter().map(|child| child.wanted.name_any());
        let listed = wanted.any(|wanted| wanted == found.name_any());
        if !listed && found.metadata.deletion_timestamp.is_none() {
            let target = Target::of(Kind::Component, found.as_ref());
            plan.actions.push(Action::Delete(target));
        }
    }
}

/// What differs, if anything does.
fn change(workspace: &Workspace, found: &Component, wanted: &Component) -> Option<Action> {
    let mut operations = mended_labels(found, wanted.labels());
    if found.spec != wanted.spec {
        operations.extend(spec(workspace, found, wanted)?);
    }

    (!operations.is_empty()).then(|| Action::Patch {
        target: Target::of(Kind::Component, found),
        operations,
    })
}

/// The new spec, unless somebody projected a newer generation meanwhile.
fn spec(workspace: &Workspace, found: &Component, wanted: &Component) -> Option<Vec<Operation>> {
    let projected = found.annotations().get(labels::WORKSPACE_GENERATION);
    let newer = |projected: &String| {
        let projected = projected.parse::<i64>();
        projected.is_ok_and(|projected| projected > workspace.generation())
    };
    if projected.is_some_and(newer) {
        return None;
    }

    let generation = workspace.generation().to_string();
    let mut operations = match projected {
        Some(projected) => vec![
            test(&GENERATION, projected.as_str()),
            replace(&GENERATION, generation),
        ],
        // Somebody took it away.
        None if found.annotations().is_empty() => vec![add(
            &["metadata", "annotations"],
            json!({labels::WORKSPACE_GENERATION: generation}),
        )],
        None => vec![add(&GENERATION, generation)],
    };
    let spec = serde_json::to_value(&wanted.spec).ok()?;
    operations.push(replace(&["spec"], spec));

    Some(operations)
}
