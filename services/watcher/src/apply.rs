//! Writes objects of our own kinds to the API server.
//!
//! Not by server-side apply, as everything else is. A DNSRecord is the lock on its host, so it has
//! to be made by a POST, which fails if it is there; and a change of a Component tests the
//! generation that it was last made from, so that no older one is put back (JSON Patch, RFC 6902).

use std::fmt::Debug;

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Client, Resource, ResourceExt as _};
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use sequencer_proto::topics::Kind;
use sequencer_runtime::patch::{self, Operation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::plan::{Action, Creation, Target};

/// Returns what the API server calls one of our kinds.
#[must_use]
pub fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Workspace => ApiResource::erase::<Workspace>(&()),
        Kind::Component => ApiResource::erase::<Component>(&()),
        Kind::Build => ApiResource::erase::<Build>(&()),
        Kind::DnsRecord => ApiResource::erase::<DNSRecord>(&()),
    }
}

/// Objects of one of our kinds.
#[must_use]
pub fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// Carries out one action.
///
/// # Errors
/// See [`Error`]; one that [is stale](Error::is_stale) is ordinary.
pub async fn apply(client: &Client, action: &Action) -> Result<(), Error> {
    match action {
        Action::Create(Creation::Component(object)) => create(client, object.as_ref()).await,
        Action::Create(Creation::Build(object)) => create(client, object.as_ref()).await,
        Action::Create(Creation::DnsRecord(object)) => create(client, object.as_ref()).await,
        Action::Patch { target, operations } => patch(client, target, operations).await,
        Action::Delete(target) => delete(client, target).await,
    }
}

/// What was made before and carries the same mark is adopted, also where somebody took its owner
/// away; anything else of its name is never touched.
async fn create<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let name = object.name_any();
    let api = Api::<K>::namespaced(client.clone(), object.namespace_str());
    let failed = |source| Error::Write {
        verb: "make",
        kind: K::kind(&()).into_owned(),
        name: name.clone(),
        source,
    };

    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => return made.map(drop).map_err(failed),
    }

    let found = api.get_metadata_opt(&name).await.map_err(failed)?;
    let same = |found: &PartialObjectMeta<K>| {
        found.owner_references() == object.owner_references()
            && found.labels().get(labels::WORKSPACE_UID)
                == object.labels().get(labels::WORKSPACE_UID)
    };

    match found {
        Some(found) if is_let_go(&found, object) => {
            adopt(&api, &found, object).await.map_err(failed)
        }
        Some(found) if !same(&found) => {
            let kind = K::kind(&()).into_owned();
            Err(Error::NotOurs { kind, name })
        }
        _ => Ok(()),
    }
}

/// Whether it was made for the same, and somebody took its owner away.
fn is_let_go<K: Resource>(found: &impl Resource, object: &K) -> bool {
    let mark = found.labels().get(labels::WORKSPACE_UID);
    let marked = mark.is_some() && mark == object.labels().get(labels::WORKSPACE_UID);
    found.owner_references().is_empty() && !object.owner_references().is_empty() && marked
}

/// Gives an object its owner back.
async fn adopt<K>(api: &Api<K>, found: &impl Resource, object: &impl Resource) -> kube::Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    let owners = serde_json::to_value(object.owner_references());
    let operations = vec![
        patch::test(&["metadata", "uid"], found.uid()),
        patch::test(&["metadata", "resourceVersion"], found.resource_version()),
        patch::add(&["metadata", "ownerReferences"], owners.unwrap_or_default()),
    ];
    let patch = Patch::<()>::Json(patch::Patch(operations));
    let name = found.name_any();
    api.patch(&name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}

async fn patch(client: &Client, target: &Target, operations: &[Operation]) -> Result<(), Error> {
    let uid = patch::test(&["metadata", "uid"], target.uid.as_str());
    let operations = std::iter::once(uid).chain(operations.iter().cloned());
    let patch = Patch::<()>::Json(patch::Patch(operations.collect()));
    let api = api(client, target.kind, &target.namespace);
    let patched = api
        .patch(&target.name, &PatchParams::default(), &patch)
        .await;
    let failed = |source| Error::Write {
        verb: "change",
        kind: resource(target.kind).kind,
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
            kind: resource(target.kind).kind,
            name: target.name.clone(),
            source,
        }),
    }
}
