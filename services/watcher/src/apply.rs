//! Writes objects of our own kinds to the API server.
//!
//! Not by server-side apply, as everything else is. A DNSRecord is the lock on its host, so it has
//! to be made by a POST, which fails if it is there; and a change of a Component tests the
//! generation that it was last made from, so that no older one is put back (JSON Patch, RFC 6902).

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::labels;
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::Kind;
use serde_json::{Value, json};

use crate::error::Error;
use crate::plan::{Action, Target, words};

/// Objects of one of our kinds.
#[must_use]
pub fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let (word, plural) = words(kind);
    let resource = ApiResource {
        group: sequencer_api::GROUP.into(),
        version: sequencer_api::VERSION.into(),
        api_version: crate::plan::api_version(),
        kind: word.into(),
        plural: plural.into(),
    };

    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Carries out one action.
///
/// # Errors
/// See [`Error`]; one that [is stale](Error::is_stale) is ordinary.
pub async fn apply(client: &Client, action: &Action) -> Result<(), Error> {
    match action {
        Action::Create { kind, object } => create(client, *kind, object).await,
        Action::Patch { target, operations } => patch(client, target, operations).await,
        Action::Delete(target) => delete(client, target).await,
    }
}

/// What was made before and carries the same mark is adopted; anything else of its name is never
/// touched.
async fn create(client: &Client, kind: Kind, object: &Value) -> Result<(), Error> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let (name, word) = (object.name_any(), words(kind).0);
    let api = api(client, kind, object.namespace_str());
    let failed = |source| Error::Write {
        verb: "make",
        kind: word,
        name: name.clone(),
        source,
    };

    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => return made.map(drop).map_err(failed),
    }

    let found = api.get_opt(&name).await.map_err(failed)?;
    let same = |found: &DynamicObject| {
        found.owner_references() == object.owner_references()
            && found.labels().get(labels::WORKSPACE_UID)
                == object.labels().get(labels::WORKSPACE_UID)
    };

    match found {
        Some(found) if !same(&found) => Err(Error::NotOurs { kind: word, name }),
        _ => Ok(()),
    }
}

async fn patch(client: &Client, target: &Target, operations: &Value) -> Result<(), Error> {
    let mut all = vec![json!({"op": "test", "path": "/metadata/uid", "value": target.uid})];
    all.extend(operations.as_array().cloned().unwrap_or_default());
    let patch = Patch::<()>::Json(serde_json::from_value(Value::Array(all))?);
    let api = api(client, target.kind, &target.namespace);
    let patched = api
        .patch(&target.name, &PatchParams::default(), &patch)
        .await;
    let failed = |source| Error::Write {
        verb: "change",
        kind: words(target.kind).0,
        name: target.name.clone(),
        source,
    };

    patched.map(drop).map_err(failed)
}

/// Only the object that was read, and not another of its name.
async fn delete(client: &Client, target: &Target) -> Result<(), Error> {
    let only = Preconditions {
        uid: Some(target.uid.clone()),
        resource_version: None,
    };

    let parameters = DeleteParams {
        preconditions: Some(only),
        ..DeleteParams::background()
    };

    match api(client, target.kind, &target.namespace)
        .delete(&target.name, &parameters)
        .await
    {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        deleted => deleted.map(drop).map_err(|source| Error::Write {
            verb: "delete",
            kind: words(target.kind).0,
            name: target.name.clone(),
            source,
        }),
    }
}
