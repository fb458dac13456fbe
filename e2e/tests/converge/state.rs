//! What is there, without what differs each time: names that follow from uids, hashes and times.

use std::collections::BTreeMap;

use anyhow::Result;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use regex::Regex;
use serde_json::Value;

/// What is compared, by kind and name.
pub(crate) type State = BTreeMap<String, Value>;

const KINDS: [(&str, &str, &str, &str); 9] = [
    ("apps", "v1", "Deployment", "deployments"),
    ("batch", "v1", "Job", "jobs"),
    ("", "v1", "Service", "services"),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    (
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
    ),
    ("networking.k8s.io", "v1", "Ingress", "ingresses"),
    ("se.quencer.io", "v1alpha1", "Component", "components"),
    ("se.quencer.io", "v1alpha1", "DNSRecord", "dnsrecords"),
];

/// Of one Workspace in a namespace of its own; its DNSRecords are in `release`.
pub(crate) async fn read(
    client: &Client,
    namespace: &str,
    release: &str,
    uid: &str,
) -> Result<State> {
    let mut state = State::new();

    for (group, version, kind, plural) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let records = kind == "DNSRecord";
        let place = if records { release } else { namespace };
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), place, &resource);
        let mut params = ListParams::default();
        if records {
            params = params.labels(&format!("se.quencer.io/ws-uid={uid}"));
        }

        for object in api.list(&params).await? {
            let value = plain(&serde_json::to_value(&object)?, uid);
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            let mut key = format!("{kind} {name}");
            // Two of one plain name.
            while state.contains_key(&key) {
                key.push('+');
            }
            state.insert(key, value);
        }
    }

    Ok(state)
}

/// An object without what differs each time.
fn plain(object: &Value, uid: &str) -> Value {
    let metadata = &object["metadata"];
    let mut kept = serde_json::json!({
        "metadata": {"name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"]},
        "spec": object["spec"], "type": object["type"],
    });
    let keys = object["data"]
        .as_object()
        .map(|data| data.keys().cloned().collect::<Vec<_>>());
    kept["data"] = serde_json::json!(keys);

    for at in ["/metadata", "/spec/template/metadata"] {
        if let Some(annotations) = kept
            .pointer_mut(&format!("{at}/annotations"))
            .and_then(Value::as_object_mut)
        {
            annotations.retain(|key, _| {
                ![
                    "revision",
                    "template",
                    "made-from",
                    "workspace-generation",
                    "retry",
                    "restartedAt",
                ]
                .iter()
                .any(|part| key.ends_with(part))
            });
        }
    }
    // What the API server and its controllers choose.
    if let Some(spec) = kept["spec"].as_object_mut() {
        for field in [
            "clusterIP",
            "clusterIPs",
            "volumeName",
            "suspend",
            "selector",
            "manualSelector",
        ] {
            spec.remove(field);
        }
    }
    if let Some(labels) = kept
        .pointer_mut("/spec/template/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.retain(|key, _| !key.contains("controller-uid") && !key.contains("job-name"));
    }
    if let Some(labels) = kept
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.retain(|key, _| !key.contains("controller-uid") && !key.contains("job-name"));
    }

    let text = kept.to_string().replace(uid, "UID");
    // Hashes of a uid: six characters of base32 behind a hyphen.
    let hashes = Regex::new("-[a-z2-7]{6}(?P<end>[^a-z0-9])")
        .map(|hash| hash.replace_all(&text, "-HASH$end").into_owned());
    let text = hashes.unwrap_or(text);
    serde_json::from_str(&text).unwrap_or_default()
}

/// What differs, for people.
pub(crate) fn difference(edited: &State, fresh: &State) -> String {
    let mut lines = Vec::new();
    let keys: std::collections::BTreeSet<_> = edited.keys().chain(fresh.keys()).collect();

    for key in keys {
        match (edited.get(key), fresh.get(key)) {
            (Some(edited), Some(fresh)) if edited == fresh => {}
            (Some(edited), Some(fresh)) => {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                paths(edited, "", &mut a);
                paths(fresh, "", &mut b);
                lines.extend(
                    a.iter()
                        .filter(|line| !b.contains(line))
                        .map(|line| format!("{key}: edited {line}")),
                );
                lines.extend(
                    b.iter()
                        .filter(|line| !a.contains(line))
                        .map(|line| format!("{key}: fresh  {line}")),
                );
            }
            (Some(_), None) => lines.push(format!("{key}: only after the edits")),
            (None, _) => lines.push(format!("{key}: only if it is applied so")),
        }
    }

    lines.join("\n")
}

fn paths(value: &Value, at: &str, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(name, below)| paths(below, &format!("{at}.{name}"), lines)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(index, below)| paths(below, &format!("{at}[{index}]"), lines)),
        plain => lines.push(format!("{at} = {plain}")),
    }
}
