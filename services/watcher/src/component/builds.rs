//! Which Builds a Component has: one for each set of inputs and commits.

use std::collections::BTreeMap;

use kube::ResourceExt;
use sequencer_api::build::BuildSpec;
use sequencer_api::labels::{self, commit12};
use sequencer_api::owner::is_controlled_by;
use sequencer_api::status::component::SourceSection;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component};

use crate::owned::{Owned, owner_reference};

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
pub(super) fn build_labels(
    component: &Component,
    owned: &Owned,
    build: &Build,
) -> BTreeMap<String, String> {
    let name = component.spec.template.name.as_str();
    let instance = component.name_any();
    let commit = commit12(build.spec.commit().unwrap_or_default());
    let mut marks = labels::made_for(owned.owner(component), component.namespace_str());
    marks.extend(labels::map([
        (labels::NAME, name),
        (labels::INSTANCE, instance.as_str()),
        (labels::COMPONENT, name),
        (labels::BUILD, &build.spec.name),
        (labels::COMMIT, commit),
    ]));

    // The deployer finds Builds by the uid, also those of a Component on its own.
    if owned.workspace.is_none() {
        marks.remove(labels::WORKSPACE);
        marks.remove(labels::WORKSPACE_NAMESPACE);
    }

    marks
}

/// The Build that a Component's pods can run: one of its own, or one that another component made of the
/// same `build`.
pub(super) fn to_run<'a>(
    component: &'a Component,
    owned: &'a Owned,
    desired: Option<&Build>,
) -> Option<&'a Build> {
    component.spec.template.build.as_ref()?;
    let wanted = desired.map(ResourceExt::name_any);
    let status = component.status.as_ref();
    let serves = status.and_then(|status| status.deploy.build.as_deref());
    let is_shared = |build: &Build| {
        let name = build.metadata.name.as_deref();
        name.is_some() && (name == wanted.as_deref() || name == serves)
    };
    let builds = owned.builds.iter().map(AsRef::as_ref);
    let builds =
        builds.filter(|build: &&Build| is_controlled_by(*build, component) || is_shared(build));
    Build::to_run(builds, wanted.as_deref(), serves)
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
