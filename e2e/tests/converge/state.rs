//! What is there of a Workspace, without what differs each time: names that follow from uids, hashes
//! and times.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use regex::Regex;
use serde_json::{Value, json};

use crate::world::{RELEASE, TUNNELS, World};

/// What is compared, by kind and name.
pub(crate) type State = BTreeMap<String, Value>;

/// Group, version, kind and plural.
type Kind = (&'static str, &'static str, &'static str, &'static str);

/// In the namespace of its own.
const KINDS: [Kind; 8] = [
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
];

/// In namespaces that all share.
const ELSEWHERE: [(&str, Kind); 4] = [
    (
        RELEASE,
        ("se.quencer.io", "v1alpha1", "DNSRecord", "dnsrecords"),
    ),
    (TUNNELS, ("apps", "v1", "Deployment", "deployments")),
    (TUNNELS, ("", "v1", "Secret", "secrets")),
    (
        TUNNELS,
        (
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
        ),
    ),
];

/// The selector of what is made for a Workspace.
pub(crate) fn label(uid: &str) -> String {
    format!("se.quencer.io/ws-uid={uid}")
}

/// What is there of a Workspace, in a namespace of its own, elsewhere in the cluster and outside.
pub(crate) async fn read(world: &World, namespace: &str, uid: &str) -> Result<State> {
    let plain = Plain::new(uid)?;
    let mut state = State::new();
    let mut add = |key: String, value: &Value| {
        let mut key = plain.text(&key);
        // Two of one plain name.
        while state.contains_key(&key) {
            key.push('+');
        }
        state.insert(key, value.clone());
    };

    let here = KINDS
        .iter()
        .map(|kind| (namespace, kind, ListParams::default()));
    let ours = ListParams::default().labels(&label(uid));
    let elsewhere = ELSEWHERE
        .iter()
        .map(|(place, kind)| (*place, kind, ours.clone()));
    for (place, (group, version, kind, plural), params) in here.chain(elsewhere) {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), place, &resource);

        for object in api.list(&params).await? {
            let name = object.metadata.name.clone().unwrap_or_default();
            // A person's.
            if kind == &"Secret" && name == "token" {
                continue;
            }
            let place = if place == namespace { "" } else { place };
            let key = format!("{place} {kind} {name}");
            add(key, &plain.object(&serde_json::to_value(&object)?)?);
        }
    }

    for (name, value) in world.outside.of(uid).await? {
        add(name, &plain.outside(&value)?);
    }
    Ok(state)
}

/// Takes away what differs each time.
struct Plain {
    uid: String,
    /// The uid of another object, or a tunnel's id.
    uuid: Regex,
    /// The hash of a uid: six characters of base32 behind a hyphen.
    hash: Regex,
}

impl Plain {
    fn new(uid: &str) -> Result<Self> {
        Ok(Self {
            uid: uid.into(),
            uuid: Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")?,
            hash: Regex::new(r"-[a-z2-7]{6}\b")?,
        })
    }

    fn text(&self, text: &str) -> String {
        let text = text.replace(&self.uid, "UID");
        let text = self.uuid.replace_all(&text, "UUID");
        self.hash.replace_all(&text, "-HASH").into_owned()
    }

    fn value(&self, value: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(&value.to_string()))?)
    }

    fn object(&self, object: &Value) -> Result<Value> {
        let metadata = &object["metadata"];
        let finalizers = &metadata["finalizers"];
        let keys = object["data"]
            .as_object()
            .map(|data| data.keys().cloned().collect::<Vec<_>>());
        let mut kept = json!({
            "metadata": {
                "name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"],
                "finalizers": finalizers, "owners": owners(metadata),
            },
            "spec": object["spec"], "type": object["type"], "data": keys,
        });

        for at in ["/metadata", "/spec/template/metadata"] {
            for (part, differs) in [("annotations", ANNOTATIONS), ("labels", LABELS)] {
                let found = kept.pointer_mut(&format!("{at}/{part}"));
                if let Some(found) = found.and_then(Value::as_object_mut) {
                    found.retain(|key, _| !differs.iter().any(|end| key.ends_with(end)));
                }
            }
        }
        if let Some(spec) = kept["spec"].as_object_mut() {
            spec.retain(|key, _| !CHOSEN.contains(&key.as_str()));
        }
        self.value(&kept)
    }

    /// A tunnel or a record.
    fn outside(&self, found: &Value) -> Result<Value> {
        let kept = [
            "config", "name", "type", "content", "proxied", "ttl", "comment",
        ];
        let mut found = found.clone();
        if let Some(found) = found.as_object_mut() {
            found.retain(|key, _| kept.contains(&key.as_str()));
        }
        self.value(&found)
    }
}

/// Annotations of what was done when.
const ANNOTATIONS: &[&str] = &[
    "revision",
    "template",
    "made-from",
    "workspace-generation",
    "retry",
    "restartedAt",
    "edited",
];

/// Labels of one Job, and of the commit that rolled pods out: another one that makes the same image
/// does not.
const LABELS: &[&str] = &["controller-uid", "job-name", "se.quencer.io/commit"];

/// What the API server and its controllers choose.
const CHOSEN: &[&str] = &[
    "clusterIP",
    "clusterIPs",
    "volumeName",
    "suspend",
    "selector",
    "manualSelector",
];

/// Whether it stays as long as the Workspace does: generated values, for whoever takes them again.
pub(crate) fn is_kept(key: &str) -> bool {
    key.starts_with(" Secret w-variables-")
}

fn owners(metadata: &Value) -> Vec<String> {
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    owners
        .map(|owner| format!("{} {}", owner["kind"], owner["name"]))
        .collect()
}

/// What differs, for people; nothing if nothing does.
pub(crate) fn difference(found: &State, expected: &State) -> String {
    let mut lines = Vec::new();
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();

    for key in keys {
        match (found.get(key), expected.get(key)) {
            (Some(found), Some(expected)) if found == expected => {}
            (Some(found), Some(expected)) => {
                let (found, expected) = (fields(found), fields(expected));
                let more = found
                    .difference(&expected)
                    .map(|line| format!("{key}: is        {line}"));
                lines.extend(more);
                let less = expected
                    .difference(&found)
                    .map(|line| format!("{key}: should be {line}"));
                lines.extend(less);
            }
            (Some(_), None) => lines.push(format!("{key}: should not be there")),
            (None, _) => lines.push(format!("{key}: is not there")),
        }
    }
    lines.join("\n")
}

/// Every value with its path.
fn fields(value: &Value) -> BTreeSet<String> {
    let below = |at: String, value: &Value| {
        fields(value)
            .into_iter()
            .map(move |field| format!("{at}{field}"))
            .collect::<Vec<_>>()
    };
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(name, value)| below(format!(".{name}"), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(index, value)| below(format!("[{index}]"), value))
            .collect(),
        plain => [format!(" = {plain}")].into(),
    }
}
