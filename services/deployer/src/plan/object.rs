//! An object to be made, of whatever kind.

use data_encoding::HEXLOWER;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Resource;
use kube::api::ApiResource;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use sequencer_api::labels::REVISION;

/// An object to be made.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its kind.
    pub resource: ApiResource,
    /// Itself. It carries the hash of all of this as an annotation.
    pub body: Value,
    /// The fields that are written again when the hash changes.
    pub fields: &'static [&'static str],
}

impl Object {
    /// An object of a kind, whose `fields` follow when it changes.
    pub(crate) fn new<K>(mut body: Value, fields: &'static [&'static str]) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let hash = canonical_hash(&body);
        if let Value::Object(whole) = &mut body {
            whole.insert("apiVersion".into(), resource.api_version.clone().into());
            whole.insert("kind".into(), resource.kind.clone().into());
            let metadata = whole.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(metadata) = metadata {
                let annotations =
                    metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
                if let Value::Object(annotations) = annotations {
                    annotations.insert(REVISION.into(), hash.into());
                }
            }
        }
        Self { resource, body, fields }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The uid of the object that it belongs to.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.body.pointer("/metadata/ownerReferences/0/uid").and_then(Value::as_str).unwrap_or_default()
    }

    /// The hash of all of it.
    #[must_use]
    pub fn hash(&self) -> &str {
        hash_of(&self.body)
    }

    /// Whether it is a Deployment.
    #[must_use]
    pub fn is_deployment(&self) -> bool {
        self.resource.kind == Deployment::kind(&())
    }
}

fn hash_of(body: &Value) -> &str {
    let annotations = body.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.and_then(|annotations| annotations.get(REVISION)).and_then(Value::as_str).unwrap_or_default()
}

/// Sixteen characters of the hash of a value. Keys of a JSON object are sorted, so the same value has the same hash.
pub(crate) fn canonical_hash(value: &impl Serialize) -> String {
    let text = serde_json::to_value(value).map(|value| value.to_string()).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(text)).chars().take(16).collect()
}
