//! Whose an object is. Labels say so to people and to lists, and anybody may write them; the
//! controller in the ownerReferences says so to garbage collection, and holds only within one
//! namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};

use crate::labels::WORKSPACE_UID;
use crate::names::Owner;
use crate::{Component, Workspace};

/// The reference to the controller of an object, if that is one of our kind `K`.
pub fn controller<K: Resource<DynamicType = ()>>(
    object: &impl Resource,
) -> Option<&OwnerReference> {
    let ours = |reference: &OwnerReference| {
        reference.kind == K::kind(&()) && group(reference) == K::group(&())
    };
    object
        .owner_references()
        .iter()
        .find(|reference| reference.controller == Some(true))
        .filter(|found| ours(found))
}

/// Whether `owner` controls an object: the same kind, name and uid, in the same namespace.
pub fn is_controlled_by<K: Resource<DynamicType = ()>>(object: &impl Resource, owner: &K) -> bool {
    let meta = owner.meta();
    let same = |reference: &OwnerReference| {
        meta.uid.as_ref() == Some(&reference.uid) && meta.name.as_ref() == Some(&reference.name)
    };
    object.meta().namespace == meta.namespace && controller::<K>(object).is_some_and(same)
}

/// Whether a Component was made for this Workspace, and somebody took its owner away: it has the name
/// that the Workspace gives it, and no owner at all. Its Workspace gives it back.
#[must_use]
pub fn is_let_go(component: &Component, workspace: &Workspace) -> bool {
    let made = Owner::of(workspace).component(&component.spec.template.name);
    component.owner_references().is_empty()
        && component.namespace() == workspace.namespace()
        && component.labels().get(WORKSPACE_UID) == workspace.uid().as_ref()
        && component.name_any() == made
}

fn group(reference: &OwnerReference) -> &str {
    reference
        .api_version
        .split_once('/')
        .map_or("", |(group, _version)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Build;

    fn workspace(namespace: &str) -> Workspace {
        serde_json::from_value(json!({
            "metadata": {"name": "w", "namespace": namespace, "uid": "u"}, "spec": {"components": []},
        }))
        .unwrap()
    }

    /// A Component whose only owner is the Workspace `w` of its namespace, with this change.
    fn component(change: &Value) -> Component {
        let mut owner = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "name": "w", "uid": "u", "controller": true,
        });
        owner
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "a", "ownerReferences": [owner]},
            "spec": {"name": "c", "template": {"containers": []}},
        }))
        .unwrap()
    }

    #[test]
    fn an_object_belongs_to_the_controller_of_its_own_namespace_alone() {
        assert!(is_controlled_by(&component(&json!({})), &workspace("a")));
        assert!(!is_controlled_by(&component(&json!({})), &workspace("b")));
        for change in [
            json!({"uid": "other"}),
            json!({"name": "other"}),
            json!({"kind": "Component"}),
            json!({"controller": false}),
            json!({"apiVersion": "example.com/v1alpha1"}),
            json!({"apiVersion": "v1"}),
        ] {
            assert!(
                !is_controlled_by(&component(&change), &workspace("a")),
                "{change}"
            );
        }
    }

    #[test]
    fn a_controller_is_of_the_kind_that_is_asked_for() {
        let component = component(&json!({}));
        assert_eq!(
            controller::<Workspace>(&component).map(|found| found.uid.as_str()),
            Some("u")
        );

        assert!(
            controller::<Component>(&component).is_none()
                && controller::<Build>(&component).is_none()
        );
    }
}
