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
    let kinds = [
        Workspace::crd(),
        Component::crd(),
        Build::crd(),
        DNSRecord::crd(),
    ];
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
    let kind = definition
        .pointer("/spec/names/kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") else {
        return;
    };
    walk(schema, &mut limit_embedded);
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(status) = properties.get_mut("status").and_then(Value::as_object_mut) {
        complete_status(status);
    }
    if kind == "Build"
        && let Some(spec) = properties.get_mut("spec").and_then(Value::as_object_mut)
    {
        let rule = json!({"rule": "self == oldSelf", "message": "E#1005 spec: a Build never changes; make another"});
        let rules = spec
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
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

/// The longest list of objects where nothing else limits it. An empty object is three bytes of
/// JSON, and hundreds as a value of a program: without a limit an object that etcd takes fills the
/// memory of whoever reads it.
const OBJECTS: usize = 64;

/// The longest list of texts or numbers where nothing else limits it.
const WORDS: usize = 1024;

/// Kubernetes' resource quantity (`apimachinery/pkg/api/resource`): a number, and perhaps a suffix or
/// an exponent.
const QUANTITY: &str =
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";

/// A claim says how large it is and of which class. Nothing leads it to a volume that has data on
/// it: what is there already is somebody else's.
const EMPTY_CLAIM: &str = "!has(self.volumeName) && !has(self.dataSource) && !has(self.dataSourceRef) && !has(self.selector) \
    && (!has(self.storageClassName) || self.storageClassName.size() > 0)";

/// Labels and annotations of such a claim are its template's, and provisioners choose places by
/// them.
const PLAIN_CLAIM: &str = "!has(self.volumeClaimTemplate) || !has(self.volumeClaimTemplate.metadata) \
    || (!has(self.volumeClaimTemplate.metadata.annotations) && !has(self.volumeClaimTemplate.metadata.labels))";

/// Strips what `template` and `volumeClaimTemplates` say about their fields, which is Kubernetes'
/// own documentation and most of the size, and limits the lists and texts that a PodSpec leaves
/// open.
fn limit_embedded(schema: &mut Map<String, Value>) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };

    for name in ["template", "volumeClaimTemplates", "strategy"] {
        if let Some(embedded) = properties.get_mut(name)
            && (name != "template" || embedded.pointer("/properties/containers").is_some())
        {
            let own = embedded.get("description").cloned();
            walk(embedded, &mut |inner| {
                inner.remove("description");
                inner.remove("format");
                limit_list(inner);
                limit_claim(inner);
                limit_quantities(inner);
            });
            if let (Some(map), Some(own)) = (embedded.as_object_mut(), own) {
                map.insert("description".into(), own);
            }
        }
    }

    let limits = [
        ("containers", 8),
        ("initContainers", 8),
        ("volumes", 16),
        ("env", 128),
    ];
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
    if properties.contains_key("valueFrom")
        && properties.contains_key("value")
        && properties.contains_key("name")
    {
        if let Some(value) = properties.get_mut("value").and_then(Value::as_object_mut) {
            value.insert("maxLength".into(), json!(32_768));
        }
        if let Some(name) = properties.get_mut("name").and_then(Value::as_object_mut) {
            name.insert("minLength".into(), json!(1));
            name.insert("pattern".into(), json!("^[^=\\x00]+$"));
        }
    }
}

/// Limits a list that has no limit yet.
fn limit_list(schema: &mut Map<String, Value>) {
    // A field may be called `items`, too.
    if schema.get("type").is_none_or(|kind| kind != "array") {
        return;
    }

    let objects = schema
        .get("items")
        .and_then(|items| items.get("type"))
        .is_some_and(|kind| kind == "object");

    schema
        .entry("maxItems")
        .or_insert(json!(if objects { OBJECTS } else { WORDS }));
}

/// A quantity is one: the API server refuses any other only where a pod is made of it. Maps of what
/// may be a number or a text hold nothing else, nor do these fields.
fn limit_quantities(schema: &mut Map<String, Value>) {
    for (name, inner) in schema {
        match (name.as_str(), inner) {
            ("additionalProperties" | "divisor" | "sizeLimit", Value::Object(quantity))
                if quantity.contains_key("x-kubernetes-int-or-string") =>
            {
                quantity.insert("pattern".into(), json!(QUANTITY));
            }
            _ => {}
        }
    }
}

/// A claim begins empty, wherever a template has one. And no template has ephemeral containers:
/// those are for pods that run.
fn limit_claim(schema: &mut Map<String, Value>) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };

    properties.remove("ephemeralContainers");

    let (rule, message) = if properties.contains_key("volumeName")
        && properties.contains_key("dataSourceRef")
    {
        let message = "E#6021 a claim begins empty: no volumeName, selector, dataSource, dataSourceRef or empty storageClassName";
        (EMPTY_CLAIM, message)
    } else if properties.contains_key("volumeClaimTemplate") {
        (
            PLAIN_CLAIM,
            "E#6021 ephemeral.volumeClaimTemplate.metadata: neither labels nor annotations",
        )
    } else {
        return;
    };

    schema.insert(
        "x-kubernetes-validations".into(),
        json!([{"rule": rule, "message": message}]),
    );
}

/// Until the watcher has reconciled it, an object reads as not ready: without these defaults tools take a
/// new object for done.
fn complete_status(status: &mut Map<String, Value>) {
    status.insert("default".into(), json!({}));
    let waiting = json!([{
        "type": "Ready", "status": "Unknown", "reason": "Waiting", "message": "not reconciled yet",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]);
    let conditions = status
        .get_mut("properties")
        .and_then(|properties| properties.get_mut("conditions"));
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
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/sequencer/files/crds");
        let made = definitions().unwrap();
        for definition in &made {
            let file = std::fs::read_to_string(folder.join(&definition.file)).unwrap();
            let same = serde_yaml::to_string(&definition.value).unwrap() == file;
            assert!(
                same,
                "{}: cargo run -p sequencer-api --bin crdgen charts/sequencer/files/crds",
                definition.file
            );
        }

        assert_eq!(std::fs::read_dir(folder).unwrap().count(), made.len());
    }

    /// The lists below a schema that may be of any length.
    fn unlimited(schema: &Value, at: &str) -> Vec<String> {
        let mut found = Vec::new();

        if schema["type"] == "array" {
            found.extend(schema["maxItems"].is_null().then(|| at.to_owned()));
            found.extend(unlimited(&schema["items"], &format!("{at}[]")));
        }

        let properties = schema["properties"].as_object().into_iter().flatten();
        found
            .extend(properties.flat_map(|(name, inner)| unlimited(inner, &format!("{at}.{name}"))));
        found
    }

    #[test]
    fn every_list_that_a_user_writes_has_a_limit() {
        for definition in definitions().unwrap() {
            let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
            let spec = definition.value.pointer(spec).unwrap();

            assert_eq!(
                unlimited(spec, "spec"),
                Vec::<String>::new(),
                "{}",
                definition.file
            );
        }
    }

    #[test]
    fn no_claim_of_a_template_may_lead_to_a_volume_that_is_there() {
        let definitions = definitions().unwrap();
        let schema = &definitions
            .iter()
            .find(|definition| definition.file == "components.yaml")
            .unwrap()
            .value;
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let ephemeral = "template/properties/volumes/items/properties/ephemeral";

        for (at, rule) in [
            ("volumeClaimTemplates/items/properties/spec", EMPTY_CLAIM),
            (
                &*format!("{ephemeral}/properties/volumeClaimTemplate/properties/spec"),
                EMPTY_CLAIM,
            ),
            (ephemeral, PLAIN_CLAIM),
        ] {
            let rules = schema
                .pointer(&format!("{spec}/{at}/x-kubernetes-validations"))
                .unwrap();
            assert_eq!(rules[0]["rule"], rule, "{at}");
        }
    }

    #[test]
    fn kubectl_apply_can_carry_them_and_nothing_unknown_is_preserved() {
        for definition in definitions().unwrap() {
            let text = definition.value.to_string();
            assert!(
                text.len() < ANNOTATION,
                "{} has {} bytes",
                definition.file,
                text.len()
            );
            assert!(
                !text.contains("preserve-unknown-fields"),
                "{}",
                definition.file
            );
        }
    }
}
