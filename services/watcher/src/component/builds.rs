//! The Builds of a Component: one for each set of inputs and commits, the last ones kept to roll back to.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use sequencer_api::build::BuildSpec;
use sequencer_api::labels::{self, commit12};
use sequencer_api::names::Owner;
use sequencer_api::status::component::SourceSection;
use sequencer_api::{Build, Component};
use sequencer_proto::topics::Kind;
use serde_json::json;

use super::{delete, tell};
use crate::build::{commit, is_published};
use crate::family::{Family, controller, is_of, owner};
use crate::plan::{Action, Plan, Target};
use crate::wakes::Work;

/// Whether the commits of every import are known, as the spec has them now.
pub(crate) fn resolved(build: &BuildSpec, source: &SourceSection) -> bool {
    build.import_content.len() == source.imports.len()
        && build.import_content.iter().zip(&source.imports).all(|(import, found)| {
            import.content_from.git.as_ref().is_some_and(|git| {
                import.path == found.path
                    && git.url == found.url
                    && git.reference == found.reference
                    && git.commit.as_ref().is_none_or(|commit| *commit == found.commit)
            })
        })
}

/// The Build of the newest commits, once they are known.
#[must_use]
pub fn desired(component: &Component) -> Option<Build> {
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
    let (name, uid) = owner(component);
    let mut build = Build::new(&Owner { name: &name, uid: &uid }.build(&spec.name, commit(&spec), &canonical), spec);
    build.metadata.namespace = component.namespace();
    build.metadata.owner_references = controller(component).map(|owner| vec![owner]);
    build.metadata.labels = Some(build_labels(component, &build));
    Some(build)
}

fn build_labels(component: &Component, build: &Build) -> BTreeMap<String, String> {
    let mut labels = component.labels().clone();
    labels.insert(labels::MANAGED_BY.into(), labels::SEQUENCER.into());
    labels.insert(labels::INSTANCE.into(), component.name_any());
    labels.insert(labels::COMPONENT.into(), component.spec.template.name.clone());
    // The deployer finds Builds by it, also those of a Component on its own.
    labels.insert(labels::WORKSPACE_UID.into(), owner(component).1);
    labels.insert(labels::BUILD.into(), build.spec.name.clone());
    labels.insert(labels::COMMIT.into(), commit12(commit(&build.spec)).into());
    labels
}

/// Makes the Build of the newest commits, and marks those that nobody needs any more before they are built.
pub(super) fn follow(plan: &mut Plan, component: &Component, family: &Family, work: &Work<'_>) {
    let Some(build) = desired(component) else { return };
    let name = build.name_any();
    let there = family.builds.iter().find(|other| other.name_any() == name);
    if let Some(there) = there.filter(|there| there.annotations().contains_key(labels::SUPERSEDED_BY)) {
        // The branch went back to it.
        plan.actions.push(unmark(there));
    }
    if there.is_none() {
        let reference =
            build.spec.import_content.first().and_then(|import| import.content_from.git.as_ref()?.reference.clone());
        let (commit, branch) = (commit12(commit(&build.spec)), reference.as_deref().unwrap_or("HEAD"));
        let message = format!("{}: {branch} at {commit}, Build {name}", component.spec.template.name);
        plan.events.push(tell(family, work.target, "Building", message));
        plan.actions.push(Action::create(Kind::Build, &build));
    }
    for older in own(component, family) {
        if older.name_any() != name && !published(older) && !older.annotations().contains_key(labels::SUPERSEDED_BY) {
            plan.actions.push(mark(older, &name));
            let message =
                format!("{}: Build {name} took the place of {}", component.spec.template.name, older.name_any());
            plan.events.push(tell(family, work.target, "Superseded", message));
        }
    }
}

/// Whether pods can run it.
fn published(build: &Build) -> bool {
    let generation = build.metadata.generation.unwrap_or_default();
    build.status.as_ref().is_some_and(|status| is_published(status, generation))
}

fn mark(build: &Build, by: &str) -> Action {
    let operations = if build.metadata.annotations.is_some() {
        json!([{"op": "add", "path": superseded_by(), "value": by}])
    } else {
        json!([{"op": "add", "path": "/metadata/annotations", "value": {labels::SUPERSEDED_BY: by}}])
    };
    Action::Patch { target: Target::of(Kind::Build, build), operations }
}

fn unmark(build: &Build) -> Action {
    let operations = json!([{"op": "remove", "path": superseded_by()}]);
    Action::Patch { target: Target::of(Kind::Build, build), operations }
}

/// The annotation as a JSON Pointer.
fn superseded_by() -> String {
    format!("/metadata/annotations/{}", labels::SUPERSEDED_BY.replace('/', "~1"))
}

/// Deletes the Builds beyond the history, and all of a component that builds nothing any more.
pub(super) fn forget(plan: &mut Plan, component: &Component, family: &Family) {
    let limit = usize::try_from(component.spec.template.build_history_limit).unwrap_or_default();
    let status = component.status.clone().unwrap_or_default();
    let wanted = desired(component).map(|build| build.name_any());
    let serving = status.deploy.build;
    // Until the commits are known nobody can tell which one is wanted.
    if component.spec.template.build.is_some() && wanted.is_none() {
        return;
    }
    let kept = |build: &&Build| {
        let name = Some(build.name_any());
        name == wanted || name == serving || build.metadata.deletion_timestamp.is_some()
    };
    let mut others: Vec<_> = own(component, family).filter(|build| !kept(build)).collect();
    others.sort_by_key(|build| std::cmp::Reverse(created(build)));
    plan.actions.extend(others.into_iter().skip(limit).map(|build| delete(Kind::Build, build)));
}

/// The newest Build that pods can run: the wanted one once it is published, else the last that was.
pub(super) fn newest_published<'a>(component: &'a Component, family: &'a Family) -> Option<&'a Build> {
    let wanted = desired(component).map(|build| build.name_any());
    let runs = |build: &&Build| build.metadata.deletion_timestamp.is_none() && published(build);
    let candidates: Vec<_> = own(component, family).filter(runs).collect();
    let is_wanted = |build: &&&Build| Some(build.name_any()) == wanted;
    candidates.iter().find(is_wanted).or_else(|| candidates.iter().max_by_key(|build| created(build))).copied()
}

/// Whether a component can start as far as its own image goes.
pub(super) fn any_published(component: &Component, family: &Family) -> bool {
    component.spec.template.build.is_none() || newest_published(component, family).is_some()
}

/// A Component's own Builds.
pub(super) fn own<'a>(component: &'a Component, family: &'a Family) -> impl Iterator<Item = &'a Build> {
    let uid = component.uid().unwrap_or_default();
    family.builds.iter().map(AsRef::as_ref).filter(move |build| is_of(*build, &uid))
}

fn created(build: &Build) -> Option<(jiff::Timestamp, String)> {
    build.creation_timestamp().map(|created| (created.0, build.name_any()))
}
