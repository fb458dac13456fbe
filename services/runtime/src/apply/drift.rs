//! What was applied, and whether others changed it, by who owns which field (Kubernetes "Server-Side
//! Apply", field management): a field of ours whose value somebody else changes is his from then
//! on, and nobody's if he takes it away. Values are not compared, since the API server writes them in
//! a form of its own, but for fields that nobody has any more: `kubectl scale --replicas=0` leaves
//! such a one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

/// Whether what `manager` applied, which is `body`, is not so any more.
pub(super) fn is_changed(found: &DynamicObject, body: &Value, manager: &str) -> bool {
    if has_others(found, body, manager) {
        return true;
    }

    let Some(ours) = ours(found, manager) else {
        return false;
    };
    let value = serde_json::to_value(found).unwrap_or_default();
    // What names the kind is nobody's, and not in lists.
    let parts = body.as_object().into_iter().flatten();
    let mut parts = parts.filter(|(name, _)| !["apiVersion", "kind"].contains(&name.as_str()));
    parts.any(|(name, wanted)| is_field_lost(&value, ours, name, wanted))
}

/// Whether another than `manager` has a field that is in `body`, and that `manager` has no more.
fn has_others(found: &DynamicObject, body: &Value, manager: &str) -> bool {
    let ours = ours(found, manager);
    let entries = found.managed_fields().iter();
    let others = entries.filter(|entry| !is_applied(entry, manager));
    let mut others = others.filter_map(fields);
    others.any(|theirs| is_taken(theirs, ours, body))
}

/// Whether something of the field of this path was taken away that is in `body` too.
pub(super) fn is_taken_from(
    found: &DynamicObject,
    body: &Value,
    path: &[&str],
    manager: &str,
) -> bool {
    let Some(ours) = ours(found, manager) else {
        return false;
    };

    let value = serde_json::to_value(found).unwrap_or_default();
    let start = (&value, ours, body);
    let below = path.iter().try_fold(start, |(found, ours, wanted), field| {
        let ours = ours.get(&format!("f:{field}"))?.as_object()?;
        Some((found.get(field)?, ours, wanted.get(field)?))
    });
    below.is_some_and(|(found, ours, wanted)| is_lost(found, ours, wanted))
}

/// The field of this path as `manager` applied it: without what the API server added, and what
/// others did. None if it did not, or if others changed something of it that is in `body` too.
pub(super) fn applied(
    found: &DynamicObject,
    body: &Value,
    path: &[&str],
    manager: &str,
) -> Option<Value> {
    let wanted = path.iter().try_fold(body, |body, field| body.get(field))?;
    let wanted = path
        .iter()
        .rev()
        .fold(wanted.clone(), |value, field| json!({*field: value}));
    if has_others(found, &wanted, manager) {
        return None;
    }

    let start = (serde_json::to_value(found).ok()?, ours(found, manager)?);

    let (value, fields) = path.iter().try_fold(start, |(mut value, fields), field| {
        let below = fields.get(&format!("f:{field}"))?.as_object()?;
        Some((value.get_mut(field)?.take(), below))
    })?;
    Some(owned(&value, fields))
}

/// Of a value the fields that are named, or all of it where none is.
fn owned(value: &Value, fields: &Map<String, Value>) -> Value {
    if fields.is_empty() {
        return value.clone();
    }

    let part = |value: &Value, below: &Value| match below.as_object() {
        Some(below) => owned(value, below),
        None => value.clone(),
    };

    match value {
        Value::Object(all) => {
            let ours = fields.iter().filter_map(|(name, below)| {
                let name = name.strip_prefix("f:")?;
                Some((name.to_owned(), part(all.get(name)?, below)))
            });
            ours.collect()
        }
        // In the order in which they stand: it counts for containers and variables.
        Value::Array(all) => {
            let ours = all.iter().filter_map(|item| {
                let list = Value::Array(vec![item.clone()]);
                let (_, below) = fields
                    .iter()
                    .find(|(name, _)| step(name, &list).is_some())?;
                Some(part(item, below))
            });
            ours.collect()
        }
        value => value.clone(),
    }
}

/// What `manager` applied.
fn ours<'a>(found: &'a DynamicObject, manager: &str) -> Option<&'a Map<String, Value>> {
    let mut entries = found.managed_fields().iter();
    entries
        .find(|entry| is_applied(entry, manager))
        .and_then(fields)
}

fn is_applied(entry: &ManagedFieldsEntry, manager: &str) -> bool {
    entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Apply")
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

/// Whether something that is wanted is not ours any more: it was taken away, or has another value
/// that is nobody's.
fn is_lost(found: &Value, ours: &Map<String, Value>, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => {
            let mut wanted = wanted.iter();
            wanted.any(|(name, wanted)| is_field_lost(found, ours, name, wanted))
        }
        Value::Array(items) => items.iter().any(|item| {
            let list = Value::Array(vec![item.clone()]);
            let owned = ours.iter().find(|(name, _)| step(name, &list).is_some());
            let below = owned.map(|(_, below)| below);
            let found = owned.and_then(|(name, _)| step(name, found));
            is_part_lost(found.unwrap_or(&Value::Null), below, item)
        }),
        _ => false,
    }
}

/// The same of one field.
fn is_field_lost(found: &Value, ours: &Map<String, Value>, name: &str, wanted: &Value) -> bool {
    let found = found.get(name).unwrap_or(&Value::Null);
    is_part_lost(found, ours.get(&format!("f:{name}")), wanted)
}

/// The same of a field or an item of a list that we have, or have not any more.
fn is_part_lost(found: &Value, ours: Option<&Value>, wanted: &Value) -> bool {
    match ours.and_then(Value::as_object) {
        // What is one value has no fields of its own.
        Some(below) if below.is_empty() => false,
        Some(below) => is_lost(found, below, wanted),
        None if wanted.is_object() => is_lost(found, &Map::new(), wanted),
        None => !is_nothing(wanted) && found != wanted,
    }
}

/// Whether the API server keeps nothing of it.
fn is_nothing(wanted: &Value) -> bool {
    wanted.is_null() || wanted.as_array().is_some_and(Vec::is_empty)
}

/// What is wanted one step further down.
fn step<'a>(name: &str, wanted: &'a Value) -> Option<&'a Value> {
    match name.split_once(':')? {
        ("f", field) => wanted.get(field),
        ("k", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            let mut items = wanted.as_array()?.iter();
            // A protocol that is not said is TCP, the one key that has a default.
            let is = |item: &Value, key: &str, value: &Value| match item.get(key) {
                Some(own) => own == value,
                None => key == "protocol" && value == "TCP",
            };
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

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    /// What we have once it was applied.
    fn all_ours() -> Value {
        let mut all = container(&json!({".": {}, "f:name": {}, "f:image": {}}));
        all["f:metadata"] =
            json!({"f:annotations": {"f:ours": {}}, "f:finalizers": {r#"v:"x""#: {}}});
        all["f:spec"]["f:replicas"] = json!({});
        all
    }

    /// What is left of ours when somebody changes these fields.
    fn without(ours: &Value, theirs: &Value) -> Value {
        let (Some(ours), Some(theirs)) = (ours.as_object(), theirs.as_object()) else {
            return ours.clone();
        };
        let left = ours.iter().filter_map(|(name, below)| {
            let left = match theirs.get(name) {
                Some(taken) if *taken == json!({}) => return None,
                Some(taken) => without(below, taken),
                None => return Some((name.clone(), below.clone())),
            };
            // Of what nothing is left the API server says nothing.
            (left != json!({})).then(|| (name.clone(), left))
        });
        left.collect()
    }

    /// With what there is, what another has, and what we have.
    fn is_other(mut found: Value, theirs: &Value, ours: &Value) -> bool {
        found["apiVersion"] = json!("apps/v1");
        found["kind"] = json!("Deployment");
        found["metadata"]["managedFields"] = json!([
            entry("kubectl", "Update", theirs),
            entry("deployer", "Update", &json!({"f:status": {}})),
            entry("deployer", "Apply", ours),
        ]);
        let found = serde_json::from_value(found).unwrap();
        is_changed(&found, &deployment(), "deployer")
    }

    fn changed(theirs: &Value, ours: &Value) -> bool {
        is_other(deployment(), theirs, ours)
    }

    #[test]
    fn what_somebody_else_has_of_ours_was_changed() {
        for theirs in [
            json!({"f:spec": {"f:replicas": {}}}),
            json!({"f:metadata": {"f:annotations": {"f:ours": {}}}}),
            json!({"f:metadata": {"f:finalizers": {r#"v:"x""#: {}}}}),
            container(&json!({"f:image": {}})),
        ] {
            assert!(changed(&theirs, &without(&all_ours(), &theirs)), "{theirs}");
            // Once it is applied again we have it too.
            assert!(!changed(&theirs, &all_ours()), "{theirs}");
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
            assert!(!changed(&theirs, &all_ours()), "{theirs}");
        }
    }

    #[test]
    fn what_somebody_takes_away_was_changed() {
        let nothing = json!({});
        let app = "/spec/template/spec/containers/0";
        for (pointer, name, taken) in [
            ("/spec", "replicas", json!({"f:spec": {"f:replicas": {}}})),
            (
                "/metadata/annotations",
                "ours",
                json!({"f:metadata": {"f:annotations": {"f:ours": {}}}}),
            ),
            (
                "/metadata",
                "finalizers",
                json!({"f:metadata": {"f:finalizers": {}}}),
            ),
            (app, "image", container(&json!({"f:image": {}}))),
            ("/spec/template/spec", "containers", container(&json!({}))),
        ] {
            let mut found = deployment();
            let below = found.pointer_mut(pointer).and_then(Value::as_object_mut);
            assert!(below.unwrap().remove(name).is_some());
            let left = without(&all_ours(), &taken);
            assert!(is_other(found, &nothing, &left), "{taken}");
        }
    }

    #[test]
    fn what_nobody_has_any_more_was_changed_if_it_is_something_else() {
        let scaled = json!({"f:spec": {"f:replicas": {}}});
        for (replicas, lost) in [(json!(0), true), (json!(2), false)] {
            let mut found = deployment();
            found["spec"]["replicas"] = replicas.clone();
            let left = without(&all_ours(), &scaled);
            assert_eq!(is_other(found, &json!({}), &left), lost, "{replicas}");
        }
    }

    #[test]
    fn an_object_whose_fields_nobody_has_is_as_it_was() {
        let found = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        let found = serde_json::from_value(found).unwrap();
        assert!(!is_changed(&found, &deployment(), "deployer"));
    }

    #[test]
    fn what_was_applied_is_without_what_others_and_the_api_server_added() {
        let mut found = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        found["spec"]["template"] = json!({
            "metadata": {"annotations": {"ours": "1", "restartedAt": "now"}},
            "spec": {
                "dnsPolicy": "ClusterFirst",
                "containers": [
                    {"name": "b", "image": "b:1", "args": ["x"], "resources": {}, "imagePullPolicy": "Always"},
                    {"name": "sidecar", "image": "theirs"},
                    {"name": "a", "image": "a:1", "env": [{"name": "Z", "value": "1"}, {"name": "A"}]},
                ],
            },
        });

        let env = json!({r#"k:{"name":"Z"}"#: {".": {}, "f:name": {}, "f:value": {}}, r#"k:{"name":"A"}"#: {".": {}, "f:name": {}}});
        let containers = json!({
            r#"k:{"name":"a"}"#: {".": {}, "f:name": {}, "f:image": {}, "f:env": env},
            r#"k:{"name":"b"}"#: {".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {}},
        });
        let ours = json!({"f:spec": {"f:template": {
            "f:metadata": {"f:annotations": {"f:ours": {}}}, "f:spec": {"f:containers": containers},
        }}});
        let theirs = |key: &str| json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {key: {}}}}}});
        let applied = |theirs: &Value, path: &[&str], manager| {
            let mut found = found.clone();
            let entries = [
                entry("kubectl", "Update", theirs),
                entry("deployer", "Apply", &ours),
            ];
            found["metadata"] = json!({"name": "a", "managedFields": entries});
            let found = serde_json::from_value(found).unwrap();
            let wanted = json!({"metadata": {"annotations": {"wanted": "1"}}});
            let body = json!({"spec": {"template": wanted, "strategy": {}}});
            super::applied(&found, &body, path, manager)
        };

        let (template, restarted) = (["spec", "template"], theirs("f:restartedAt"));
        assert_eq!(
            applied(&restarted, &template, "deployer").unwrap(),
            json!({
                "metadata": {"annotations": {"ours": "1"}},
                "spec": {"containers": [
                    {"name": "b", "image": "b:1", "args": ["x"], "resources": {}},
                    {"name": "a", "image": "a:1", "env": [{"name": "Z", "value": "1"}, {"name": "A"}]},
                ]},
            })
        );
        assert_eq!(applied(&restarted, &["spec", "strategy"], "deployer"), None);
        assert_eq!(applied(&restarted, &template, "another"), None);
        // What others changed of what is wanted is as nobody planned it.
        assert_eq!(applied(&theirs("f:wanted"), &template, "deployer"), None);
    }
}
