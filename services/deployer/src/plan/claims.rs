//! Claims on volumes, as a StatefulSet makes them.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodSpec, Volume,
};
use sequencer_api::names;
use serde_json::json;

use super::{Object, View, labels};
use crate::args::Settings;

/// The claims. Most of a claim cannot change, and what is on it is the user's: none is written
/// again.
pub(super) fn claims(view: &View, settings: &Settings) -> Vec<Object> {
    let labels = labels::of_component(view, settings);
    let claim = |template: &PersistentVolumeClaim| {
        let body = json!({
            "metadata": labels::metadata(view, &claim_name(view, template), &labels), "spec": template.spec,
        });
        Object::fixed::<PersistentVolumeClaim>(body)
    };

    view.template()
        .volume_claim_templates
        .iter()
        .map(claim)
        .collect()
}

fn claim_name(view: &View, template: &PersistentVolumeClaim) -> String {
    names::claim(
        template.metadata.name.as_deref().unwrap_or_default(),
        view.name(),
    )
}

/// Gives the pod a volume for each claim, by the template's name.
pub(super) fn mount(view: &View, pod: &mut PodSpec) {
    for template in &view.template().volume_claim_templates {
        let name = template.metadata.name.clone().unwrap_or_default();
        let claim_name = claim_name(view, template);
        let source = PersistentVolumeClaimVolumeSource {
            claim_name,
            read_only: None,
        };

        let volumes = pod.volumes.get_or_insert_default();
        volumes.retain(|volume| volume.name != name);
        volumes.push(Volume {
            name,
            persistent_volume_claim: Some(source),
            ..Volume::default()
        });
    }
}

/// Whether two pods cannot have a claim at once.
pub(super) fn exclusive(view: &View) -> bool {
    let modes = view
        .template()
        .volume_claim_templates
        .iter()
        .filter_map(|template| template.spec.as_ref());
    let mut modes = modes.flat_map(|spec| spec.access_modes.iter().flatten());
    modes.any(|mode| mode == "ReadWriteOnce" || mode == "ReadWriteOncePod")
}
