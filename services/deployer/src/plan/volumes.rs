//! Whose data a template may reach: its own claims', which begin empty, and those of claims that
//! the operator shares.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sequencer_api::code::Code;

use super::View;
use super::refusal::refuse;
use crate::args::SharedClaims;
use sequencer_api::host::Refusal;

/// The schema says most of this, too. What was stored before it did comes here all the same.
pub(super) fn check(view: &View, shared: &SharedClaims) -> Result<(), Refusal> {
    for (index, template) in view.template().volume_claim_templates.iter().enumerate() {
        let Some(name) = &template.metadata.name else {
            let message = format!(
                "volumeClaimTemplates[{index}].metadata.name: needed; containers mount the claim by it"
            );
            return Err(Refusal::new(Code::VolumeForbidden, message));
        };

        template.spec.as_ref().map_or(Ok(()), |spec| {
            begins_empty(&format!("volumeClaimTemplates[{name}].spec"), spec)
        })?;
    }

    view.template()
        .template
        .volumes
        .iter()
        .flatten()
        .try_for_each(|volume| of_volume(view, shared, volume))
}

fn of_volume(view: &View, shared: &SharedClaims, volume: &Volume) -> Result<(), Refusal> {
    let at = format!("template.volumes[{}]", volume.name);

    if let Some(claim) = &volume.persistent_volume_claim {
        is_shared(
            &format!("{at}.persistentVolumeClaim"),
            view.namespace(),
            shared,
            claim,
        )?;
    }

    let template = volume
        .ephemeral
        .as_ref()
        .and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
    let Some(template) = template else {
        return Ok(());
    };

    let at = format!("{at}.ephemeral.volumeClaimTemplate");
    begins_empty(&format!("{at}.spec"), &template.spec)?;
    template.metadata.as_ref().map_or(Ok(()), |metadata| {
        is_plain(&format!("{at}.metadata"), metadata)
    })
}

/// Kubernetes mounts whatever claim of the namespace is named: who named it has no rights that it
/// could ask for.
fn is_shared(
    at: &str,
    namespace: &str,
    shared: &SharedClaims,
    claim: &PersistentVolumeClaimVolumeSource,
) -> Result<(), Refusal> {
    let found = shared
        .0
        .iter()
        .find(|shared| shared.namespace == namespace && shared.name == claim.claim_name);
    let Some(found) = found else {
        let name: String = claim.claim_name.chars().take(64).collect();
        let message = format!(
            "{at}: the chart's workspaces.sharedClaims does not list {name:?} of {namespace}; a Component's own claims are \
             its volumeClaimTemplates, mounted by their names"
        );
        return Err(Refusal::new(Code::VolumeForbidden, message));
    };

    refuse(
        found.read_only && claim.read_only != Some(true),
        Code::VolumeForbidden,
        || format!("{at}: {} may be read only: set readOnly: true", found.name),
    )
}

/// A claim that names a volume, or a source to clone, gets somebody's data. A `selector`, or no
/// class at all, finds only volumes that were made by hand: for somebody.
fn begins_empty(at: &str, claim: &PersistentVolumeClaimSpec) -> Result<(), Refusal> {
    for (named, field) in [
        (claim.volume_name.is_some(), "volumeName"),
        (claim.data_source.is_some(), "dataSource"),
        (claim.data_source_ref.is_some(), "dataSourceRef"),
        (claim.selector.is_some(), "selector"),
        (
            claim.storage_class_name.as_deref() == Some(""),
            "storageClassName",
        ),
    ] {
        refuse(named, Code::VolumeForbidden, || {
            format!("{at}.{field}: a claim begins empty, and may not choose its volume")
        })?;
    }
    Ok(())
}

/// These are copied to the claim, and provisioners choose a place by them; of
/// `volumeClaimTemplates` no metadata are.
fn is_plain(at: &str, metadata: &ObjectMeta) -> Result<(), Refusal> {
    let named = metadata.annotations.is_some() || metadata.labels.is_some();
    refuse(named, Code::VolumeForbidden, || {
        format!("{at}: neither labels nor annotations may be set")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::testing::{planned, settings, view};

    const LEVELS: [&str; 3] = [
        "--pod-security=baseline",
        "--pod-security=restricted",
        "--pod-security=privileged",
    ];
    const SHARED: &str = r#"--shared-claims=[{"namespace":"sequencer-system","name":"models"},
        {"namespace":"sequencer-system","name":"scratch","readOnly":false},{"namespace":"team-b","name":"theirs"}]"#;

    /// What becomes of the sample's redis with this field.
    fn with(flags: &[&str], field: &str, value: Value) -> Option<Refusal> {
        let view = view("redis", |spec| {
            let component = &mut spec["components"][0];
            *field
                .split('/')
                .skip(1)
                .fold(component, |value, key| &mut value[key]) = value;
        });
        planned(&view, &settings(flags)).err()
    }

    fn refused(flags: &[&str], field: &str, value: &Value) -> bool {
        with(flags, field, value.clone())
            .is_some_and(|refused| refused.code == Code::VolumeForbidden)
    }

    fn mounting(name: &str, read_only: bool) -> Value {
        json!([{"name": "a", "persistentVolumeClaim": {"claimName": name, "readOnly": read_only}}])
    }

    #[test]
    fn a_claim_that_is_not_shared_is_refused_at_every_level() {
        for level in LEVELS {
            for name in ["data-nats-0", "theirs", "", "models "] {
                assert!(
                    refused(&[level, SHARED], "/template/volumes", &mounting(name, true)),
                    "{level} {name}"
                );
            }
        }
    }

    #[test]
    fn a_shared_claim_is_mounted_as_the_chart_says() {
        for (name, read_only, allowed) in [
            ("models", true, true),
            ("models", false, false),
            ("scratch", true, true),
            ("scratch", false, true),
        ] {
            let found = with(&[SHARED], "/template/volumes", mounting(name, read_only));
            assert_eq!(found.is_none(), allowed, "{name} {read_only}: {found:?}");
        }

        let silent = json!([{"name": "a", "persistentVolumeClaim": {"claimName": "models"}}]);
        assert!(refused(&[SHARED], "/template/volumes", &silent));
    }

    #[test]
    fn a_claim_of_ones_own_begins_empty_at_every_level() {
        let own = |spec: &Value| json!([{"metadata": {"name": "data"}, "spec": spec}]);
        let ephemeral = |spec: &Value| json!([{"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]);
        let source = json!({"kind": "PersistentVolumeClaim", "name": "data-nats-0"});
        let snapshot =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "a"});
        for level in LEVELS {
            for (field, value) in [
                ("volumeName", json!("pv")),
                ("dataSource", source.clone()),
                ("dataSource", snapshot.clone()),
                ("dataSourceRef", source.clone()),
                ("selector", json!({})),
                ("storageClassName", json!("")),
            ] {
                let spec = json!({"accessModes": ["ReadWriteOnce"], field: value});
                assert!(
                    refused(&[level], "/volumeClaimTemplates", &own(&spec)),
                    "{level} {field}"
                );
                assert!(
                    refused(&[level], "/template/volumes", &ephemeral(&spec)),
                    "{level} {field}"
                );
            }
        }
        let resources = json!({"requests": {"storage": "1Gi"}});
        let plain = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": resources});
        assert_eq!(with(&[], "/volumeClaimTemplates", own(&plain)), None);
        assert_eq!(with(&[], "/template/volumes", ephemeral(&plain)), None);
    }

    #[test]
    fn a_claim_that_no_container_can_name_is_refused() {
        let spec = json!({"accessModes": ["ReadWriteOnce"]});
        let unnamed = json!([{"metadata": {}, "spec": spec}]);
        assert!(refused(&[], "/volumeClaimTemplates", &unnamed));
    }

    #[test]
    fn an_ephemeral_claim_has_no_words_for_its_provisioner() {
        for metadata in [
            json!({"annotations": {"nfs.io/storage-path": "theirs"}}),
            json!({"labels": {"a": "b"}}),
        ] {
            let template =
                json!({"metadata": metadata, "spec": {"accessModes": ["ReadWriteOnce"]}});
            let volumes = json!([{"name": "a", "ephemeral": {"volumeClaimTemplate": template}}]);
            assert!(refused(&[], "/template/volumes", &volumes), "{metadata}");
        }
    }

    #[test]
    fn an_allowed_kind_covers_no_other_beside_it() {
        let both = json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]);
        assert!(refused(&[], "/template/volumes", &both));
    }
}
