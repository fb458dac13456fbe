//! Writing objects into the cluster: server-side apply with the service's field manager
//! (Kubernetes "Server-Side Apply"), so that what a plan does not say any more goes from the object
//! too, and what others wrote beside it stays.

mod drift;

use data_encoding::HEXLOWER;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::{Api, Client, Resource, ResourceExt as _};
use ring::digest::{SHA256, digest};
use sequencer_api::labels::REVISION;
use sequencer_api::stored::Stored as _;
use serde_json::{Map, Value};
use tracing::info;

/// Writes objects as one field manager.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    manager: &'static str,
}

/// An object as a plan has it.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its kind.
    pub resource: ApiResource,
    /// Everything that is wanted of it. Fields that are not in it are not ours.
    pub body: Value,
    /// It is written once and then left as it is.
    pub fixed: bool,
    /// The fields that people may change until it is written anew, by their JSON pointers (RFC
    /// 6901).
    pub left: &'static [&'static str],
}

/// Returns sixteen characters of the SHA-256 of a value. Keys of a JSON object are sorted: the same
/// value has the same hash.
#[must_use]
pub fn hash(value: &Value) -> String {
    HEXLOWER
        .encode(digest(&SHA256, value.to_string().as_bytes()).as_ref())
        .chars()
        .take(16)
        .collect()
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier")
            .field("manager", &self.manager)
            .finish_non_exhaustive()
    }
}

impl Object {
    /// An object of the kind `K`, which carries a hash of all of it as its revision.
    #[must_use]
    pub fn new<K: Resource<DynamicType = ()>>(body: Value) -> Self {
        let resource = ApiResource::erase::<K>(&());
        let revision = hash(&body);
        let mut object = Self {
            resource,
            body,
            fixed: false,
            left: &[],
        };

        object.set("apiVersion", object.resource.api_version.clone().into());
        object.set("kind", object.resource.kind.clone().into());
        object.annotate(REVISION, revision.into());
        object
    }

    /// The same, but never written again once it is there.
    #[must_use]
    pub fn fixed<K: Resource<DynamicType = ()>>(body: Value) -> Self {
        Self {
            fixed: true,
            ..Self::new::<K>(body)
        }
    }

    /// The same, with fields that people may change until it is written anew, by their JSON pointers
    /// (RFC 6901).
    #[must_use]
    pub fn leaving(self, left: &'static [&'static str]) -> Self {
        Self { left, ..self }
    }

    /// The same with the `data` of a Secret, which the revision is not made from: a short hash of
    /// a password could be guessed at. Something else in it has to change with them.
    #[must_use]
    pub fn with_secret(mut self, data: Value) -> Self {
        self.set("data", data);
        self
    }

    /// The same with another value of a field that it has, by its JSON pointer (RFC 6901), and the
    /// hash of all that it says then.
    #[must_use]
    pub fn with(&self, field: &str, value: Value) -> Self {
        let mut object = self.clone();
        if let Some(found) = object.body.pointer_mut(field) {
            *found = value;
        }

        if let Some(Value::Object(annotations)) = object.body.pointer_mut("/metadata/annotations") {
            annotations.remove(REVISION);
        }
        let revision = hash(&object.body);
        object.annotate(REVISION, revision.into());
        object
    }

    /// What nobody else may change of it.
    fn kept(&self) -> Value {
        let mut body = self.body.clone();

        for field in self.left {
            let parent = field.rsplit_once('/');
            let parent = parent.and_then(|(at, name)| Some((body.pointer_mut(at)?, name)));
            if let Some((Value::Object(parent), name)) = parent {
                parent.remove(name);
            }
        }

        body
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// The uid of the object that it belongs to, by its first owner reference.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.text("/metadata/ownerReferences/0/uid")
    }

    /// The hash of all of it.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        let annotations = self.body.pointer("/metadata/annotations")?;
        annotations.get(REVISION)?.as_str()
    }

    fn text(&self, path: &str) -> &str {
        self.body
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn set(&mut self, field: &str, value: Value) {
        if let Value::Object(body) = &mut self.body {
            body.insert(field.into(), value);
        }
    }

    /// Sets an annotation, which the revision is not made from.
    pub fn annotate(&mut self, key: &str, value: Value) {
        let Value::Object(body) = &mut self.body else {
            return;
        };

        let empty = || Value::Object(Map::new());
        if let Value::Object(metadata) = body.entry("metadata").or_insert_with(empty)
            && let Value::Object(annotations) = metadata.entry("annotations").or_insert_with(empty)
        {
            annotations.insert(key.into(), value);
        }
    }
}

impl Applier {
    /// Writes as this field manager, with the rights of this client.
    #[must_use]
    pub fn new(client: Client, manager: &'static str) -> Self {
        Self { client, manager }
    }

    /// Objects of a kind in a namespace.
    #[must_use]
    pub fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    /// Makes the object so, unless what was found under its name has its revision already, and
    /// nobody changed a field of it since. `found` must be ours, or None where there is nothing.
    /// Somebody may have made one of this name since: whoever gets that back has to look whose it is.
    ///
    /// # Errors
    /// The API server refuses; 409 if what was found has given its name to another.
    pub async fn apply(
        &self,
        namespace: &str,
        object: &Object,
        found: Option<DynamicObject>,
    ) -> kube::Result<DynamicObject> {
        match found {
            Some(found) if object.fixed || self.stands(object, &found) => Ok(found),
            found => {
                let uid = found.and_then(|found| found.metadata.uid);
                self.write(namespace, object, uid.as_deref()).await
            }
        }
    }

    /// Whether an object is as it was written by this plan.
    #[must_use]
    pub fn stands(&self, object: &Object, found: &DynamicObject) -> bool {
        revision(found) == object.revision()
            && !drift::is_changed(found, &object.kept(), self.manager)
    }

    /// The field of this path as it was applied before. None if it was not, or if others changed
    /// something of it since that is in `object` too: then it is not as anybody planned it.
    #[must_use]
    pub fn applied(&self, object: &Object, found: &DynamicObject, path: &[&str]) -> Option<Value> {
        drift::applied(found, &object.body, path, self.manager)
    }

    /// Whether somebody took something of the field of this path away that `object` has too.
    #[must_use]
    pub fn is_taken_from(&self, object: &Object, found: &DynamicObject, path: &[&str]) -> bool {
        drift::is_taken_from(found, &object.body, path, self.manager)
    }

    /// Writes the object, whatever revision was found. `uid` is that of what was found.
    ///
    /// # Errors
    /// See [`Self::apply`].
    pub async fn write(
        &self,
        namespace: &str,
        object: &Object,
        uid: Option<&str>,
    ) -> kube::Result<DynamicObject> {
        let mut body = object.body.clone();
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
            && let Some(uid) = uid
        {
            // The uid and no resourceVersion: a Deployment's changes with every pod.
            metadata.insert("uid".into(), uid.into());
        }

        // What others changed of our fields is ours again.
        let params = PatchParams::apply(self.manager).force();
        let made = self
            .api(&object.resource, namespace)
            .patch(object.name(), &params, &Patch::Apply(&body))
            .await?;

        info!(
            kind = object.resource.kind,
            name = object.name(),
            namespace,
            "Applied object"
        );
        Ok(made)
    }

    /// Deletes an object that was read, and no other of its name. It is no error if it is gone.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        found: &DynamicObject,
        policy: PropagationPolicy,
    ) -> kube::Result<()> {
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: found.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };

        let (name, namespace) = (found.name_any(), found.namespace_str());

        match self.api(resource, namespace).delete(&name, &params).await {
            Ok(_) => info!(kind = resource.kind, name, namespace, "Deleted object"),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }

        Ok(())
    }
}

/// The hash of the plan that an object was last written by.
#[must_use]
pub fn revision(found: &DynamicObject) -> Option<&str> {
    found.annotations().get(REVISION).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Secret, Service};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_revision_is_of_all_that_is_wanted_and_nothing_else() {
        let object = |port: i32| {
            Object::new::<Service>(json!({
                "metadata": {"name": "a", "ownerReferences": [{"uid": "u"}]},
                "spec": {"ports": [{"port": port}]},
            }))
        };

        assert_eq!(object(1).revision(), object(1).revision());
        assert_ne!(object(1).revision(), object(2).revision());
        assert_eq!((object(1).name(), object(1).owner()), ("a", "u"));
        assert_eq!(object(1).body["apiVersion"], "v1");
    }

    #[test]
    fn what_people_may_change_is_kept_from_nobody() {
        let body = json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "template": {}}});
        let whole = Object::new::<Service>(body);
        let object = whole
            .clone()
            .leaving(&["/spec/replicas", "/spec/none/such"]);

        assert_eq!(object.kept()["spec"], json!({"template": {}}));
        assert_eq!(object.revision(), whole.revision());
        assert_eq!(object.body, whole.body);
        assert_eq!(whole.kept(), whole.body);
    }

    #[test]
    fn another_value_of_a_field_is_another_revision_whatever_stood_there() {
        let object = |port: i32| {
            Object::new::<Service>(
                json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": port}]}}),
            )
        };
        let with = |port, value: i32| object(port).with("/spec/ports", json!([{"port": value}]));

        assert_eq!(with(1, 3).body, with(2, 3).body);
        assert_ne!(with(1, 3).revision(), with(1, 4).revision());
        assert_eq!(with(1, 3).body["spec"]["ports"][0]["port"], 3);
    }

    #[test]
    fn nothing_of_a_password_is_in_the_revision() {
        let secret = |password: &str| {
            Object::new::<Secret>(json!({"metadata": {"name": "a"}}))
                .with_secret(json!({"password": password}))
        };
        assert_eq!(secret("b").revision(), secret("c").revision());
        assert_eq!(secret("b").body["data"], json!({"password": "b"}));
    }

    #[test]
    fn annotations_of_a_plan_stay_beside_its_revision() {
        let body = json!({"metadata": {"name": "a", "annotations": {"b": "c"}}});
        let object = Object::new::<Service>(body);
        assert_eq!(object.body["metadata"]["annotations"]["b"], "c");
        assert!(object.revision().is_some());
    }
}
