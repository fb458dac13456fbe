//! Labels, annotations and owners of what is made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use sequencer_api::labels::{self as label, MADE_FROM};
use serde_json::{Map, Value, json};

use super::used::Used;
use super::{View, pull_secret};
use crate::args::Settings;
use crate::error::Error;

type Labels = BTreeMap<String, String>;

/// By which pods of one component are found.
pub(super) fn selector(view: &View, component: &str) -> Labels {
    let mut labels = workspace_selector(view);
    labels.insert(label::COMPONENT.into(), component.into());
    labels
}

/// By which pods of the Workspace are found.
pub(super) fn workspace_selector(view: &View) -> Labels {
    Labels::from([(label::WORKSPACE_UID.into(), view.owner().uid.into())])
}

/// By which pods of Components without a Workspace are found.
pub(super) fn standalone_selector() -> Labels {
    Labels::from([(label::STANDALONE.into(), "true".into())])
}

/// Labels of what the Workspace has once.
pub(super) fn of_workspace(view: &View, settings: &Settings) -> Labels {
    let mut labels = inherited(view, settings);
    labels.extend(label::made_for(view.owner(), view.namespace()));
    labels
}

/// Labels of what the Component has.
pub(super) fn of_component(view: &View, settings: &Settings) -> Labels {
    let mut labels = of_workspace(view, settings);
    let name = &view.template().name;

    labels.extend(label::map([
        (label::NAME, name.as_str()),
        (label::INSTANCE, view.name()),
        (label::COMPONENT, name.as_str()),
    ]));
    labels
}

/// Labels of what runs.
pub(super) fn of_workload(view: &View, settings: &Settings, used: &Used) -> Labels {
    let mut labels = of_component(view, settings);

    if view.workspace.is_none() {
        labels.extend(standalone_selector());
    }

    if let Some(build) = used.build() {
        labels.insert(label::BUILD.into(), build.name.clone());
        labels.insert(label::COMMIT.into(), label::commit12(&build.commit).into());
    }

    labels
}

fn inherited(view: &View, settings: &Settings) -> Labels {
    let above = view
        .workspace
        .as_ref()
        .and_then(|workspace| workspace.metadata.labels.as_ref());
    let own = view.component.metadata.labels.as_ref();

    above
        .into_iter()
        .chain(own)
        .flat_map(|labels| inherited_of(labels, settings))
        .collect()
}

/// Those of a user's labels that flow down: never one by which something is selected, whatever the
/// settings say.
pub(super) fn inherited_of(labels: &Labels, settings: &Settings) -> Labels {
    let mut flowing = free(labels);
    flowing.retain(|key, _| settings.inherit_labels.contains(key));
    flowing
}

/// Those of a user's labels or annotations that are his to choose. The schema refuses the others;
/// an object may be older than that rule.
pub(super) fn free(pairs: &Labels) -> Labels {
    pairs
        .iter()
        .filter(|(key, _)| !label::is_reserved(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Metadata of an object that goes with the Component.
pub(super) fn metadata(view: &View, name: &str, labels: &Labels) -> Result<Value, Error> {
    owned(view, &view.component, name, labels)
}

/// Metadata of an object that goes with the Workspace.
pub(super) fn workspace_metadata(view: &View, name: &str, labels: &Labels) -> Result<Value, Error> {
    match &view.workspace {
        Some(workspace) => owned(view, workspace, name, labels),
        None => owned(view, &view.component, name, labels),
    }
}

fn owned<K>(view: &View, owner: &K, name: &str, labels: &Labels) -> Result<Value, Error>
where
    K: Resource<DynamicType = ()>,
{
    Ok(json!({
        "name": name, "namespace": view.namespace(), "labels": labels,
        "ownerReferences": [owner_reference(owner)?],
    }))
}

/// The reference to an object that controls another.
pub(crate) fn owner_reference<K>(owner: &K) -> Result<OwnerReference, Error>
where
    K: Resource<DynamicType = ()>,
{
    owner.controller_owner_ref(&()).ok_or(Error::Unstored)
}

/// The reference to what controls an object.
pub(crate) fn controller(references: Option<&Vec<OwnerReference>>) -> Option<&OwnerReference> {
    references?
        .iter()
        .find(|reference| reference.controller == Some(true))
}

/// Metadata of the Secret of generated variables.
pub(crate) fn variables_metadata(
    view: &View,
    settings: &Settings,
    name: &str,
) -> Result<Value, Error> {
    workspace_metadata(view, name, &of_workspace(view, settings))
}

/// Metadata of the pull Secret, with what its logins were made from.
pub(crate) fn pull_metadata(
    view: &View,
    settings: &Settings,
    made_from: &Map<String, Value>,
) -> Result<Value, Error> {
    let name = pull_secret(view);
    let mut metadata = metadata(view, &name, &of_component(view, settings))?;
    let made_from = Value::from(made_from.clone()).to_string();
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("annotations".into(), json!({MADE_FROM: made_from}));
    }
    Ok(metadata)
}
