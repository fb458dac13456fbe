//! The CustomResourceDefinitions of every kind, as the API server takes them.

use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{Build, Component, DNSRecord, Workspace};

/// A definition with its file name.
#[derive(Clone, Debug)]
pub struct Definition {
    /// `<plural>.yaml`.
    pub file: String,
    /// The CustomResourceDefinition.
    pub value: Value,
}

/// Every definition.
///
/// # Errors
/// A schema cannot be written as JSON.
pub fn definitions() -> Result<Vec<Definition>, serde_json::Error> {
    let kinds = [Workspace::crd(), Component::crd(), Build::crd(), DNSRecord::crd()];
    kinds
        .into_iter()
        .map(|kind| {
            let file = format!("{}.yaml", kind.spec.names.plural);
            let mut value = serde_json::to_value(kind)?;
            complete(&mut value);
            Ok(Definition { file, value })
        })
        .collect()
}

/// What a type cannot say: defaults of status, limits on embedded types, an immutable Build.
fn complete(definition: &mut Value) {
    let kind = definition.pointer("/spec/names/kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") else { return };
    walk(schema, &mut limit_embedded);
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    if let Some(status) = properties.get_mut("status").and_then(Value::as_object_mut) {
        complete_status(status);
    }
    if kind == "Build"
        && let Some(spec) = properties.get_mut("spec").and_then(Value::as_object_mut)
    {
        let rule = json!({"rule": "self == oldSelf", "message": "E#1005 spec: a Build never changes; make another"});
        let rules = spec.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(rule);
        }
    }
}

/// Calls `change` on every schema below this one, the innermost first.
fn walk(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(|value| walk(value, change));
            change(map);
        }
        Value::Array(list) => list.iter_mut().for_each(|value| walk(value, change)),
        _ => {}
    }
}

/// Strips what `template` and `volumeClaimTemplates` say about their fields, which is Kubernetes' own documentation and
/// most of the size, and limits the lists and texts that a PodSpec leaves open.
fn limit_embedded(schema: &mut Map<String, Value>) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for name in ["template", "volumeClaimTemplates", "strategy"] {
        if let Some(embedded) = properties.get_mut(name)
            && embedded.get("properties").is_some_and(|inner| inner.get("containers").is_some() || name != "template")
        {
            let own = embedded.get("description").cloned();
            walk(embedded, &mut |inner| {
                inner.remove("description");
                inner.remove("format");
            });
            if let (Some(map), Some(own)) = (embedded.as_object_mut(), own) {
                map.insert("description".into(), own);
            }
        }
    }
    let limits = [("containers", 8), ("initContainers", 8), ("volumes", 16), ("env", 128)];
    for (name, limit) in limits {
        if let Some(list) = properties.get_mut(name).and_then(Value::as_object_mut) {
            list.insert("maxItems".into(), json!(limit));
            list.insert("x-kubernetes-list-type".into(), json!("map"));
            list.insert("x-kubernetes-list-map-keys".into(), json!(["name"]));
            if name == "containers" {
                list.insert("minItems".into(), json!(1));
            }
        }
    }
    // An environment variable.
    if properties.contains_key("valueFrom") && properties.contains_key("value") && properties.contains_key("name") {
        if let Some(value) = properties.get_mut("value").and_then(Value::as_object_mut) {
            value.insert("maxLength".into(), json!(32_768));
        }
        if let Some(name) = properties.get_mut("name").and_then(Value::as_object_mut) {
            name.insert("minLength".into(), json!(1));
            name.insert("pattern".into(), json!("^[^=\\x00]+$"));
        }
    }
}

/// Until the watcher has looked, an object reads as not ready: without these defaults tools take a new object for done.
fn complete_status(status: &mut Map<String, Value>) {
    status.insert("default".into(), json!({}));
    let waiting = json!([{
        "type": "Ready", "status": "Unknown", "reason": "Waiting", "message": "waiting for the watcher",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]);
    let conditions = status.get_mut("properties").and_then(|properties| properties.get_mut("conditions"));
    if let Some(conditions) = conditions.and_then(Value::as_object_mut) {
        conditions.insert("default".into(), waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What `kubectl apply` can write into its annotation, in bytes.
    const ANNOTATION: usize = 256 << 10;

    #[test]
    fn the_chart_has_the_definitions_as_they_are() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/sequencer/files/crds");
        let made = definitions().unwrap();
        for definition in &made {
            let file = std::fs::read_to_string(folder.join(&definition.file)).unwrap();
            let same = serde_yaml::to_string(&definition.value).unwrap() == file;
            assert!(same, "{}: cargo run -p sequencer-api --bin crdgen charts/sequencer/files/crds", definition.file);
        }
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), made.len());
    }

    #[test]
    fn kubectl_apply_can_carry_them_and_nothing_unknown_is_preserved() {
        for definition in definitions().unwrap() {
            let text = definition.value.to_string();
            assert!(text.len() < ANNOTATION, "{} has {} bytes", definition.file, text.len());
            assert!(!text.contains("preserve-unknown-fields"), "{}", definition.file);
        }
    }
}
