//! Claims on volumes, as a StatefulSet makes them.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodSpec, Volume,
};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use sequencer_api::labels::TEMPLATE;
use sequencer_api::names;
use sequencer_runtime::apply::hash;
use serde_json::{Value, json};

use super::{Object, View, labels};
use crate::args::Settings;
use crate::error::Error;

/// The claims. Most of a claim cannot change, and what is on it is the user's: none is written
/// again.
pub(super) fn claims(view: &View, settings: &Settings) -> Result<Vec<Object>, Error> {
    let labels = labels::of_component(view, settings);
    let claim = |(name, template): (&str, &PersistentVolumeClaim)| {
        let name = names::claim(name, view.name());
        let metadata = labels::metadata(view, &name, &labels)?;
        let body = json!({"metadata": metadata, "spec": template.spec});
        let mut claim = Object::fixed::<PersistentVolumeClaim>(body);
        claim.annotate(TEMPLATE, hash(&json!(template.spec)).into());
        Ok(claim)
    };

    named(view).map(claim).collect()
}

/// Whether a claim that is there is not as its template says. The API server writes quantities in a
/// form of its own, so the one that it was made from counts too.
pub(crate) fn differs(planned: &Object, found: &DynamicObject) -> bool {
    let made_from = planned.annotation(TEMPLATE);
    if made_from.is_some() && found.annotations().get(TEMPLATE).map(String::as_str) == made_from {
        return false;
    }

    let wanted = planned.body.get("spec").unwrap_or(&Value::Null);
    let there = found.data.get("spec").unwrap_or(&Value::Null);
    !says(there, wanted)
}

/// Whether a value says all that another does.
fn says(there: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Object(wanted) => wanted
            .iter()
            .all(|(name, wanted)| says(there.get(name).unwrap_or(&Value::Null), wanted)),
        wanted => there == wanted,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{planned, settings, view};

    /// The claim of the sample's redis, of this size.
    fn planned_claim(size: &str) -> Object {
        let view = view("redis", |spec| {
            let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
            spec["components"][0]["volumeClaimTemplates"] =
                json!([{"metadata": {"name": "data"}, "spec": claim}]);
        });
        let workload = planned(&view, &settings(&[])).unwrap().workload.unwrap();
        workload.claims.into_iter().next().unwrap()
    }

    /// As the API server has it: with fields of its own, and the size as it writes it.
    fn there(made_from: &Object, size: &str) -> DynamicObject {
        let mut body = made_from.body.clone();
        body["spec"]["resources"]["requests"]["storage"] = json!(size);
        body["spec"]["volumeName"] = json!("pv");
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_claim_differs_from_another_template_that_it_does_not_satisfy() {
        let made = planned_claim("1024Mi");
        let found = there(&made, "1Gi");
        assert!(!differs(&made, &found));
        assert!(differs(&planned_claim("2Gi"), &found));
        // Somebody made the volume larger.
        assert!(!differs(&planned_claim("2Gi"), &there(&made, "2Gi")));

        let mut older = found;
        older.metadata.annotations = None;
        assert!(!differs(&planned_claim("1Gi"), &older));
        assert!(differs(&planned_claim("2Gi"), &older));
    }
}
