//! The Builds of a Component: one for each set of inputs and commits, the last ones kept to roll
//! back to.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use sequencer_api::build::BuildSpec;
use sequencer_api::labels::{self, commit12};
use sequencer_api::owner::is_controlled_by;
use sequencer_api::status::component::SourceSection;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component};
use sequencer_proto::topics::Kind;
use serde_json::json;

use super::view::ComponentView;
use crate::owned::{Owned, owner_reference};
use crate::plan::{Action, Event, EventReason, Plan, Target};

/// Whether the commits of every import are known, as the spec has them now.
pub(crate) fn resolved(build: &BuildSpec, source: &SourceSection) -> bool {
    build.import_content.len() == source.imports.len()
        && build
            .import_content
            .iter()
            .zip(&source.imports)
            .all(|(import, found)| {
                import.content_from.git.as_ref().is_some_and(|git| {
                    import.path == found.path
                        && git.url == found.url
                        && git.reference == found.reference
                        && git
                            .commit
                            .as_ref()
                            .is_none_or(|commit| *commit == found.commit)
                })
            })
}

/// The Build of the newest commits, once they are known.
pub(crate) fn desired(component: &Component, owned: &Owned) -> Option<Build> {
    let mut spec = component.spec.template.build.clone()?;
    let source = component.status.clone()?.source;
    if !resolved(&spec, &source) {
        return None;
    }

    for (import, found) in spec.import_content.iter_mut().zip(&source.imports) {
        if let Some(git) = &mut import.content_from.git {
            git.commit = Some(found.commit.clone());
        }
    }

    let canonical = serde_json::to_string(&spec).ok()?;
    let mut build = Build::new(
        &owned
            .owner(component)
            .build(&spec.name, spec.commit().unwrap_or_default(), &canonical),
        spec,
    );
    build.metadata.namespace = component.namespace();
    build.metadata.owner_references = owner_reference(component).map(|owner| vec![owner]);
    build.metadata.labels = Some(build_labels(component, owned, &build));
    Some(build)
}

/// Nothing of what a user wrote on a Component of his own: people and lists find a Build by these.
fn build_labels(component: &Component, owned: &Owned, build: &Build) -> BTreeMap<String, String> {
    let (owner, name) = (
        owned.owner(component),
        component.spec.template.name.as_str(),
    );
    let namespace = component.namespace_str();
    let (instance, commit) = (
        component.name_any(),
        commit12(build.spec.commit().unwrap_or_default()),
    );
    let mut labels = vec![
        (labels::MANAGED_BY, labels::SEQUENCER),
        (labels::NAME, name),
        (labels::PART_OF, owner.name),
        (labels::INSTANCE, &instance),
        (labels::COMPONENT, name),
        // The deployer finds Builds by it, also those of a Component on its own.
        (labels::WORKSPACE_UID, owner.uid),
        (labels::BUILD, &build.spec.name),
        (labels::COMMIT, commit),
    ];

    if owned.workspace.is_some() {
        labels.extend([
            (labels::WORKSPACE, owner.name),
            (labels::WORKSPACE_NAMESPACE, namespace),
        ]);
    }

    labels
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// Makes the Build of the newest commits, and marks those that nobody needs any more before they
/// are published.
pub(super) fn follow(plan: &mut Plan, view: &ComponentView) {
    let Some(build) = &view.desired else {
        return;
    };

    let (name, component) = (build.name_any(), &view.component.spec.template.name);
    // Marked before the newer one is there: what is not marked and not wanted is never published
    // beside it.
    let overtaken: Vec<_> = overtaken(view, &name).collect();

    plan.actions
        .extend(overtaken.iter().map(|older| mark(older, &name)));

    let mut builds = view.owned.builds.iter();
    let there = builds.find(|other| other.name_any() == name);
    if let Some(there) = there.filter(|there| is_marked(there)) {
        // The branch went back to it, or the spec.
        plan.actions.push(unmark(there));
    }

    if there.is_none() {
        let first = build.spec.import_content.first();
        let branch = first.and_then(|import| import.content_from.git.as_ref()?.reference.clone());
        let branch = branch.as_deref().unwrap_or("HEAD");
        let commit = commit12(build.spec.commit().unwrap_or_default());
        let message = format!("{component}: {branch} at {commit}, Build {name}");

        plan.events
            .push(event(view, EventReason::Building, message));
        plan.actions.push(Action::create(Kind::Build, build));
    }

    for older in overtaken {
        let older = older.name_any();
        let message = format!("{component}: Build {name} took the place of {older}");
        plan.events
            .push(event(view, EventReason::Superseded, message));
    }
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
    let operations = if build.metadata.annotations.is_some() {
        json!([{"op": "add", "path": superseded_by(), "value": by}])
    } else {
        json!([{"op": "add", "path": "/metadata/annotations", "value": {labels::SUPERSEDED_BY: by}}])
    };
    Action::Patch {
        target: Target::of(Kind::Build, build),
        operations,
    }
}

fn unmark(build: &Build) -> Action {
    let operations = json!([{"op": "remove", "path": superseded_by()}]);
    Action::Patch {
        target: Target::of(Kind::Build, build),
        operations,
    }
}

/// The annotation as a JSON Pointer.
fn superseded_by() -> String {
    format!(
        "/metadata/annotations/{}",
        labels::SUPERSEDED_BY.replace('/', "~1")
    )
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

/// The Build of its own that a Component's pods can run.
pub(super) fn to_run<'a>(
    component: &'a Component,
    owned: &'a Owned,
    desired: Option<&Build>,
) -> Option<&'a Build> {
    component.spec.template.build.as_ref()?;
    let wanted = desired.map(ResourceExt::name_any);
    let status = component.status.as_ref();
    let serves = status.and_then(|status| status.deploy.build.as_deref());
    Build::to_run(own(component, owned), wanted.as_deref(), serves)
}

/// A Component's own Builds.
pub(super) fn own<'a>(
    component: &'a Component,
    owned: &'a Owned,
) -> impl Iterator<Item = &'a Build> {
    owned
        .builds
        .iter()
        .map(AsRef::as_ref)
        .filter(move |build| is_controlled_by(*build, component))
}

fn created(build: &Build) -> Option<(jiff::Timestamp, String)> {
    build
        .creation_timestamp()
        .map(|created| (created.0, build.name_any()))
}

#[cfg(test)]
mod tests;
