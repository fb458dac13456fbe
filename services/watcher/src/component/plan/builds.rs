//! The Builds of a Component: the wanted one is made, the last ones are kept to roll back to.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use sequencer_api::labels::{self, commit12};
use sequencer_api::{Build, Component};
use sequencer_proto::topics::Kind;
use sequencer_runtime::patch::{add, remove};
use serde_json::json;

use crate::component::builds::{build_labels, desired, own};
use crate::component::view::ComponentView;
use crate::plan::{Action, Event, EventReason, Plan, Target, mended_labels};

/// Where the mark of what nobody needs any more stands.
const SUPERSEDED_BY: [&str; 3] = ["metadata", "annotations", labels::SUPERSEDED_BY];

/// Makes the Build of the newest commits, and marks those that nobody needs any more before they
/// are published.
pub(super) fn follow(plan: &mut Plan, view: &ComponentView) {
    plan.actions.extend(mended(view));

    let Some(build) = &view.desired else {
        return;
    };

    let (name, component) = (build.name_any(), &view.component.spec.template.name);
    // Marked before the newer one is there: what is not marked and not wanted is never published
    // beside it.
    let overtaken: Vec<_> = overtaken(view, &name).collect();

    plan.first
        .extend(overtaken.iter().map(|older| mark(older, &name)));

    let mut builds = view.owned.builds.iter();
    let there = builds.find(|other| other.name_any() == name);
    if let Some(there) = there.filter(|there| is_marked(there)) {
        // The branch went back to it, or the spec.
        plan.first.push(unmark(there));
    }

    if there.is_none() && is_maker(view, &name) {
        let first = build.spec.import_content.first();
        let branch = first.and_then(|import| import.content_from.git.as_ref()?.reference.clone());
        let branch = branch.as_deref().unwrap_or("HEAD");
        let commit = commit12(build.spec.commit().unwrap_or_default());
        let message = format!("{component}: {branch} at {commit}, Build {name}");

        plan.events
            .push(event(view, EventReason::Building, message));
        plan.actions.push(Action::create(build));
    }

    for older in overtaken {
        let older = older.name_any();
        let message = format!("{component}: Build {name} took the place of {older}");
        plan.events
            .push(event(view, EventReason::Superseded, message));
    }
}

/// The labels that somebody changed or took away of its Builds: by these the deployer finds them.
fn mended(view: &ComponentView) -> impl Iterator<Item = Action> {
    let (component, owned) = (&view.component, view.owned.as_ref());
    own(component, owned).filter_map(move |build| {
        let wanted = build_labels(component, owned, build);
        let operations = mended_labels(build, &wanted);
        let target = Target::of(Kind::Build, build);
        let stays = build.metadata.deletion_timestamp.is_none();
        (stays && !operations.is_empty()).then_some(Action::Patch { target, operations })
    })
}

/// Whether this is the first of the components that want the Build of this name: it makes it for all.
fn is_maker(view: &ComponentView, name: &str) -> bool {
    let owned = view.owned.as_ref();
    let wants = |other: &&Arc<Component>| {
        desired(other, owned).is_some_and(|wanted| wanted.name_any() == name)
    };
    let first = owned.components.iter().find(wants);
    first.is_none_or(|first| first.metadata.uid == view.component.metadata.uid)
}

/// An Event about a Component, on its Workspace if it has one.
fn event(view: &ComponentView, reason: EventReason, message: String) -> Event {
    let workspace = view.owned.workspace.as_deref();
    let above = workspace.map(|workspace| Target::of(Kind::Workspace, workspace));
    let target = above.as_ref().unwrap_or(&view.subject.target);
    Event::new(target, reason, message)
}

/// A Component's own Builds whose place the Build of this name takes: neither published nor wanted
/// by anybody.
fn overtaken<'a>(view: &'a ComponentView, by: &'a str) -> impl Iterator<Item = &'a Build> {
    let owned = view.owned.as_ref();
    let wanted: BTreeSet<_> = owned
        .components
        .iter()
        .filter_map(|other| desired(other, owned))
        .map(|wanted| wanted.name_any())
        .chain([by.to_owned()])
        .collect();

    own(&view.component, owned).filter(move |build| {
        !build.is_published()
            && build.metadata.deletion_timestamp.is_none()
            && !is_marked(build)
            && !wanted.contains(&build.name_any())
    })
}

fn is_marked(build: &Build) -> bool {
    build.annotations().contains_key(labels::SUPERSEDED_BY)
}

fn mark(build: &Build, by: &str) -> Action {
    let operation = if build.metadata.annotations.is_some() {
        add(&SUPERSEDED_BY, by)
    } else {
        add(
            &["metadata", "annotations"],
            json!({labels::SUPERSEDED_BY: by}),
        )
    };
    Action::Patch {
        target: Target::of(Kind::Build, build),
        operations: vec![operation],
    }
}

fn unmark(build: &Build) -> Action {
    Action::Patch {
        target: Target::of(Kind::Build, build),
        operations: vec![remove(&SUPERSEDED_BY)],
    }
}

/// Deletes the Builds beyond the history, and all of a component that builds nothing any more.
pub(super) fn prune(plan: &mut Plan, view: &ComponentView) {
    let template = &view.component.spec.template;
    let limit = match (&template.build, &view.desired) {
        // Until the commits are known nobody knows which one is wanted.
        (Some(_), None) => return,
        (Some(_), Some(_)) => usize::try_from(template.build_history_limit).unwrap_or_default(),
        (None, _) => 0,
    };

    let wanted = view.desired.as_ref().map(ResourceExt::name_any);
    let serving = &view.before.deploy.build;
    let kept = |build: &&Build| {
        let name = Some(build.name_any());
        name == wanted || name == *serving || build.metadata.deletion_timestamp.is_some()
    };

    let mut others: Vec<_> = own(&view.component, &view.owned)
        .filter(|build| !kept(build))
        .collect();
    others.sort_by_key(|build| std::cmp::Reverse(created(build)));
    let beyond = others.into_iter().skip(limit);
    let delete = |build| Action::Delete(Target::of(Kind::Build, build));
    plan.actions.extend(beyond.map(delete));
}

fn created(build: &Build) -> Option<(jiff::Timestamp, String)> {
    build
        .creation_timestamp()
        .map(|created| (created.0, build.name_any()))
}

#[cfg(test)]
mod tests;
