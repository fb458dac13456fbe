//! Making objects as they are planned: POST to create, and a patch of our own fields when the plan changes.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use kube::api::{DeleteParams, DynamicObject, ListParams, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Client};
use serde_json::Value;
use tracing::info;

use crate::error::Error;
use crate::plan::{Object, controller};
use sequencer_api::labels::REVISION;

/// Objects of one namespace.
#[derive(Clone)]
pub(crate) struct Apply {
    client: Client,
    namespace: String,
}

impl Apply {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.into() }
    }

    fn api(&self, object: &Object) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &object.resource)
    }

    /// The object of this name, if it is there; it must be ours.
    pub(crate) async fn get(&self, object: &Object) -> Result<Option<DynamicObject>, Error> {
        let found = self.api(object).get_opt(object.name()).await?;
        found.map(|found| ours(object, found)).transpose()
    }

    /// Makes the object so, and returns what is there then.
    pub(crate) async fn ensure(&self, object: &Object) -> Result<DynamicObject, Error> {
        match self.get(object).await? {
            Some(found) => self.update(object, found).await,
            None => self.create(object).await,
        }
    }

    /// Makes an object that was not there.
    pub(crate) async fn create(&self, object: &Object) -> Result<DynamicObject, Error> {
        let (kind, name) = (object.resource.kind.as_str(), object.name());
        let body: DynamicObject = serde_json::from_value(object.body.clone())?;
        match self.api(object).create(&PostParams::default(), &body).await {
            Ok(made) => {
                info!(kind, name, namespace = self.namespace, "made");
                Ok(made)
            }
            // Somebody was faster: perhaps another replica, perhaps a stranger.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.get(object).await?.ok_or_else(|| deleting(object))
            }
            Err(error) => Err(Error::of_write(error, kind, name)),
        }
    }

    /// Writes our fields if the plan changed since they were written.
    pub(crate) async fn update(&self, object: &Object, found: DynamicObject) -> Result<DynamicObject, Error> {
        if object.fields.is_empty() || annotation(&found) == Some(object.hash()) {
            return Ok(found);
        }
        let (kind, name) = (object.resource.kind.as_str(), object.name());
        let patch = kube::api::Patch::<()>::Json(Patch(operations(object, &found)?));
        let changed = self.api(object).patch(name, &PatchParams::default(), &patch).await;
        let changed = changed.map_err(|error| Error::of_write(error, kind, name))?;
        info!(kind, name, namespace = self.namespace, "changed");
        Ok(changed)
    }

    /// Deletes an object that was read, with what it controls.
    pub(crate) async fn delete(&self, object: &Object, found: &DynamicObject) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: found.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = found.metadata.name.as_deref().unwrap_or_default();
        match self.api(object).delete(name, &params).await {
            Ok(_) => info!(kind = object.resource.kind, name, namespace = self.namespace, "deleted"),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The objects of a kind that belong to `owner`, by labels.
    pub(crate) async fn list(&self, object: &Object, labels: &str, owner: &str) -> Result<Vec<DynamicObject>, Error> {
        let found = self.api(object).list(&ListParams::default().labels(labels)).await?;
        let owned = |object: &DynamicObject| {
            controller(object.metadata.owner_references.as_ref()).is_some_and(|by| by.uid == owner)
        };
        Ok(found.items.into_iter().filter(owned).collect())
    }
}

/// An object that was found under our name: ours, and there to stay.
pub(crate) fn ours(object: &Object, found: DynamicObject) -> Result<DynamicObject, Error> {
    let owner = controller(found.metadata.owner_references.as_ref()).map(|owner| owner.uid.as_str());
    if owner != Some(object.owner()) {
        return Err(Error::Foreign { kind: object.resource.kind.clone(), name: object.name().into() });
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Err(deleting(object));
    }
    Ok(found)
}

fn deleting(object: &Object) -> Error {
    Error::Deleting { kind: object.resource.kind.clone(), name: object.name().into() }
}

/// The hash of the plan that was last applied to an object.
pub(crate) fn annotation(found: &DynamicObject) -> Option<&str> {
    found.metadata.annotations.as_ref()?.get(REVISION).map(String::as_str)
}

/// A patch of our fields, labels and annotations that holds only for the object that was read.
fn operations(object: &Object, found: &DynamicObject) -> Result<Vec<PatchOperation>, Error> {
    let have = serde_json::to_value(found)?;
    let uid = Value::from(found.metadata.uid.clone());
    let mut operations = vec![PatchOperation::Test(TestOperation { path: pointer("/metadata/uid"), value: uid })];
    for field in object.fields {
        let Some(wanted) = object.body.pointer(field) else { continue };
        // A template that was rendered the same stays as it is: a restart by a person stands in it.
        if *field != "/spec/template" || revision(&have) != revision(&object.body) {
            operations.push(PatchOperation::Add(AddOperation { path: pointer(field), value: wanted.clone() }));
        }
    }
    for field in ["/metadata/labels", "/metadata/annotations"] {
        let mut merged = have.pointer(field).and_then(Value::as_object).cloned().unwrap_or_default();
        merged.extend(object.body.pointer(field).and_then(Value::as_object).cloned().unwrap_or_default());
        operations.push(PatchOperation::Add(AddOperation { path: pointer(field), value: Value::Object(merged) }));
    }
    Ok(operations)
}

/// The hash in a pod template.
pub(crate) fn revision(object: &Value) -> Option<&str> {
    let annotations = object.pointer("/spec/template/metadata/annotations")?;
    annotations.get(REVISION)?.as_str()
}

fn pointer(path: &str) -> PointerBuf {
    PointerBuf::from_tokens(path.split('/').skip(1))
}
