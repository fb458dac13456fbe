//! Objects of one namespace, made as they are planned. What is somebody else's is never touched.

use kube::Client;
use kube::api::{ApiResource, DynamicObject, ListParams, PropagationPolicy};
use sequencer_api::labels::{REVISION, TEMPLATE};
use sequencer_runtime::apply::{Applier, Object};
use serde_json::Value;

use crate::args::NAME;
use crate::error::{Error, ObjectError};
use crate::plan::controller;

/// Objects of one namespace.
#[derive(Clone)]
pub(crate) struct Apply {
    applier: Applier,
    namespace: String,
}

impl Apply {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            applier: Applier::new(client, NAME),
            namespace: namespace.into(),
        }
    }

    /// The object of this name, if it is there; it must be ours.
    pub(crate) async fn get(&self, object: &Object) -> Result<Option<DynamicObject>, Error> {
        let api = self.applier.api(&object.resource, &self.namespace);
        let found = api.get_opt(object.name()).await?;

        found.map(|found| ours(object, found)).transpose()
    }

    /// Makes the object so, and returns what is there then.
    pub(crate) async fn ensure(&self, object: &Object) -> Result<DynamicObject, Error> {
        let found = self.get(object).await?;
        self.write(object, found).await
    }

    /// Makes the object so over what was read.
    pub(crate) async fn write(
        &self,
        object: &Object,
        found: Option<DynamicObject>,
    ) -> Result<DynamicObject, Error> {
        let made = self
            .applier
            .apply(&self.namespace, object, found)
            .await
            .map_err(|error| Error::of_write(error, &object.resource.kind, object.name()))?;

        // Somebody else may have made one of this name a moment ago.
        ours(object, made)
    }

    /// The field of this path of what was read, as it was applied before. None if it was not, or if
    /// somebody changed it since.
    pub(crate) fn applied(
        &self,
        object: &Object,
        found: &DynamicObject,
        path: &[&str],
    ) -> Option<Value> {
        self.applier.applied(object, found, path)
    }

    /// Whether somebody took something of the field of this path away that is planned too.
    pub(crate) fn is_taken_from(
        &self,
        object: &Object,
        found: &DynamicObject,
        path: &[&str],
    ) -> bool {
        self.applier.is_taken_from(object, found, path)
    }

    /// Deletes an object that was read, with what it controls.
    pub(crate) async fn delete(
        &self,
        resource: &ApiResource,
        found: &DynamicObject,
    ) -> Result<(), Error> {
        let background = PropagationPolicy::Background;
        Ok(self.applier.delete(resource, found, background).await?)
    }

    /// Deletes what is ours under a name, if it is there. What is somebody else's stays.
    pub(crate) async fn remove(&self, object: &Object) -> Result<(), Error> {
        match self.standing(object).await? {
            Some(found) => self.delete(&object.resource, &found).await,
            None => Ok(()),
        }
    }

    /// What is ours under a name, if it is there to stay.
    pub(crate) async fn standing(&self, object: &Object) -> Result<Option<DynamicObject>, Error> {
        match self.get(object).await {
            Err(Error::Object(ObjectError::Foreign { .. }) | Error::Deleting { .. }) => Ok(None),
            found => found,
        }
    }

    /// The objects of a kind that belong to `owner`, by labels.
    pub(crate) async fn list(
        &self,
        resource: &ApiResource,
        labels: &str,
        owner: &str,
    ) -> Result<Vec<DynamicObject>, Error> {
        let api = self.applier.api(resource, &self.namespace);
        let found = api.list(&ListParams::default().labels(labels)).await?;
        let owned = |object: &DynamicObject| {
            controller(object.metadata.owner_references.as_ref()).is_some_and(|by| by.uid == owner)
        };

        Ok(found.items.into_iter().filter(owned).collect())
    }
}

/// An object that was found under our name: ours, and there to stay.
pub(crate) fn ours(object: &Object, found: DynamicObject) -> Result<DynamicObject, Error> {
    let owner =
        controller(found.metadata.owner_references.as_ref()).map(|owner| owner.uid.as_str());
    if owner != Some(object.owner()) {
        return Err(Error::foreign(&object.resource.kind, object.name()));
    }

    if found.metadata.deletion_timestamp.is_some() {
        return Err(Error::Deleting {
            kind: object.resource.kind.clone(),
            name: object.name().into(),
        });
    }

    Ok(found)
}

/// The hash in a pod template of what its user wrote.
pub(crate) fn revision(object: &Value) -> Option<&str> {
    annotation(object, REVISION)
}

/// The hash in a pod template of all of it.
pub(crate) fn template_revision(object: &Value) -> Option<&str> {
    annotation(object, TEMPLATE)
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    let annotations = object.pointer("/spec/template/metadata/annotations")?;
    annotations.get(key)?.as_str()
}
