//! By what a pod template is known. What its user wrote is one thing: when that changes, a Job runs
//! again and a Deployment is rolled out. What Sequencer and the chart's settings add to it is
//! another: it changes for all previews at once, and nobody asked for it.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use sequencer_api::labels::{BUILD, COMMIT, REVISION, TEMPLATE};
use sequencer_runtime::apply::hash;
use serde_json::Value;

/// The hashes of a pod template, which stand in its annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// The hash of what its user wrote, with values in place of variables.
    pub(super) written: String,
    /// The hash of all of it but for the labels that name a Build and its commit: a commit that
    /// makes the same image changes nothing that runs.
    pub(super) whole: String,
}

/// Writes its revision into a template that is made from `written`. Returns both.
pub(super) fn stamp(
    mut template: PodTemplateSpec,
    written: &Value,
) -> Result<(PodTemplateSpec, Revision), serde_json::Error> {
    let revision = Revision {
        written: hash(written),
        whole: hash(&serde_json::to_value(unnamed(&template))?),
    };

    let metadata = template.metadata.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(REVISION.into(), revision.written.clone());
    annotations.insert(TEMPLATE.into(), revision.whole.clone());
    Ok((template, revision))
}

/// The template without the labels that name a Build.
fn unnamed(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.as_mut();
    if let Some(labels) = metadata.and_then(|metadata| metadata.labels.as_mut()) {
        labels.retain(|key, _value| ![BUILD, COMMIT].contains(&key.as_str()));
    }
    template
}
