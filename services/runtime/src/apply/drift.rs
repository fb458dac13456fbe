//! Whether others changed what was applied, by who owns which field (Kubernetes "Server-Side
//! Apply", field management): a field of ours whose value somebody else changes is his from then
//! on. Values are not compared: the API server writes them in a form of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Map, Value};

/// Whether another than `manager` has a field that is in `body`, and that `manager` has no more.
pub(super) fn is_changed(found: &DynamicObject, body: &Value, manager: &str) -> bool {
    let applied = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Apply")
    };
    let (ours, others): (Vec<_>, Vec<_>) = found.managed_fields().iter().partition(applied);
    let ours = ours.into_iter().find_map(fields);

    let mut others = others.into_iter().filter_map(fields);
    others.any(|theirs| is_taken(theirs, ours, body))
}

fn fields(entry: &ManagedFieldsEntry) -> Option<&Map<String, Value>> {
    entry.fields_v1.as_ref()?.0.as_object()
}

/// Whether one of these fields is wanted, and is not ours. `FieldsV1` names a field `f:name`, an
/// item of a list `k:{keys}`, and a value of a set `v:value`.
fn is_taken(
    theirs: &Map<String, Value>,
    ours: Option<&Map<String, Value>>,
    wanted: &Value,
) -> bool {
    theirs.iter().any(|(name, below)| {
        let Some(wanted) = step(name, wanted) else {
            return false;
        };
        let ours = ours.and_then(|ours| ours.get(name));
        match below.as_object().filter(|below| !below.is_empty()) {
            Some(below) => is_taken(below, ours.and_then(Value::as_object), wanted),
            None => ours.is_none(),
        }
    })
}

/// What is wanted one step further down.
fn step<'a>(name: &str, wanted: &'a Value) -> Option<&'a Value> {
    match name.split_once(':')? {
        ("f", field) => wanted.get(field),
        ("k", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            let mut items = wanted.as_array()?.iter();
            // A key that is not said has its default.
            let is = |item: &Value, key: &str, value| item.get(key).is_none_or(|own| own == value);
            items.find(|item| keys.iter().all(|(key, value)| is(item, key, value)))
        }
        ("v", value) => {
            let value: Value = serde_json::from_str(value).ok()?;
            wanted.as_array()?.iter().find(|item| **item == value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        let container = json!({"name": "app", "image": "a:1"});
        json!({
            "metadata": {"name": "a", "annotations": {"ours": "1"}, "finalizers": ["x"]},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
        })
    }

    fn container(fields: &Value) -> Value {
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {r#"k:{"name":"app"}"#: fields}}}}})
    }

    /// With what another has, and what we have.
    fn changed(theirs: &Value, ours: &Value) -> bool {
        let entry = |manager, operation, fields| json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields});
        let entries = [
            entry("kubectl", "Update", theirs),
            entry("deployer", "Update", &json!({"f:status": {}})),
            entry("deployer", "Apply", ours),
        ];
        let found = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "managedFields": entries},
        }));
        is_changed(&found.unwrap(), &deployment(), "deployer")
    }

    #[test]
    fn what_somebody_else_has_of_ours_was_changed() {
        let rest = json!({"f:spec": {"f:template": {}}});
        for theirs in [
            json!({"f:spec": {"f:replicas": {}}}),
            json!({"f:metadata": {"f:annotations": {"f:ours": {}}}}),
            json!({"f:metadata": {"f:finalizers": {r#"v:"x""#: {}}}}),
            container(&json!({"f:image": {}})),
        ] {
            assert!(changed(&theirs, &rest), "{theirs}");
            // Once it is applied again we have it too.
            assert!(!changed(&theirs, &theirs), "{theirs}");
        }
    }

    #[test]
    fn what_others_write_beside_ours_is_theirs() {
        for theirs in [
            json!({"f:status": {"f:replicas": {}}}),
            json!({"f:metadata": {"f:annotations": {".": {}, "f:theirs": {}}}}),
            json!({"f:metadata": {"f:finalizers": {r#"v:"y""#: {}}}}),
            container(&json!({".": {}, "f:env": {}})),
            json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {r#"k:{"name":"b"}"#: {"f:image": {}}}}}}}),
        ] {
            assert!(!changed(&theirs, &json!({})), "{theirs}");
        }
    }

    #[test]
    fn an_object_whose_fields_nobody_has_is_as_it_was() {
        let found = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        let found = serde_json::from_value(found).unwrap();
        assert!(!is_changed(&found, &deployment(), "deployer"));
    }
}
