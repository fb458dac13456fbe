//! Claims on volumes, as a StatefulSet makes them.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodSpec, Volume,
};
use sequencer_api::names;
use serde_json::json;

use super::{Object, View, labels};
use crate::args::Settings;
use crate::error::Error;

/// The claims. Most of one that is there cannot be changed, which the API server says; its size can
/// where its storage class lets it grow.
pub(super) fn claims(view: &View, settings: &Settings) -> Result<Vec<Object>, Error> {
    let labels = labels::of_component(view, settings);
    let claim = |(name, template): (&str, &PersistentVolumeClaim)| {
        let name = names::claim(name, view.name());
        let metadata = labels::metadata(view, &name, &labels)?;
        let body = json!({"metadata": metadata, "spec": template.spec});
        Ok(Object::new::<PersistentVolumeClaim>(body))
    };

    named(view).map(claim).collect()
}

/// The templates of claims by their names. One without a name was refused ([`super::volumes`]).
fn named(view: &View) -> impl Iterator<Item = (&str, &PersistentVolumeClaim)> {
    let templates = view.template().volume_claim_templates.iter();
    templates.filter_map(|template| Some((template.metadata.name.as_deref()?, template)))
}

/// Gives the pod a volume for each claim, by the template's name.
pub(super) fn mount(view: &View, pod: &mut PodSpec) {
    for (name, _template) in named(view) {
        let source = PersistentVolumeClaimVolumeSource {
            claim_name: names::claim(name, view.name()),
            read_only: None,
        };

        let volumes = pod.volumes.get_or_insert_default();
        volumes.retain(|volume| volume.name != name);
        volumes.push(Volume {
            name: name.into(),
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
