//! A Workspace and what belongs to it, as the reflectors know it. A Component or Build that was applied on its own is its
//! own Workspace.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};
use sequencer_api::labels;
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use sequencer_runtime::retry::later;
use uuid::Uuid;

/// Everything of one Workspace.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// The Workspace; none for objects on their own.
    pub workspace: Option<Arc<Workspace>>,
    /// Its Components, by name.
    pub components: Vec<Arc<Component>>,
    /// Its Builds, by name.
    pub builds: Vec<Arc<Build>>,
    /// Its DNSRecords, by name.
    pub records: Vec<Arc<DNSRecord>>,
    /// How many Workspaces of its namespace come before it, as long as it has no Component.
    pub older: usize,
    /// Since when it is known that an administrator gave up what the Workspace has outside.
    pub abandoned_since: Option<Timestamp>,
}

/// Whether what is outside is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandon {
    /// It is not.
    No,
    /// Then: first the network service may delete what it can.
    At(Timestamp),
    /// It is.
    Now,
}

impl Family {
    /// Whether what is outside is left behind, this long after an administrator said so.
    #[must_use]
    pub fn abandon(&self, after: Duration, now: Timestamp) -> Abandon {
        match self.abandoned_since.map(|since| later(since, after)) {
            None => Abandon::No,
            Some(at) if now < at => Abandon::At(at),
            Some(_) => Abandon::Now,
        }
    }

    /// The Component of this name in the Workspace.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().map(Arc::as_ref).find(|component| component.spec.template.name == name)
    }
}

/// The uid of the Workspace that an object belongs to. What a Component on its own made carries that one's uid, and no
/// Workspace's name.
#[must_use]
pub fn workspace_uid<K: Resource>(object: &K) -> Option<&str> {
    let labels = object.labels();
    labels.get(labels::WORKSPACE).and(labels.get(labels::WORKSPACE_UID)).map(String::as_str)
}

/// The uid of the Workspace that an object belongs to, or of the Component that made it on its own, or its own.
#[must_use]
pub fn root<K: Resource>(object: &K) -> Uuid {
    let uid = object.labels().get(labels::WORKSPACE_UID).or(object.meta().uid.as_ref());
    uid.and_then(|uid| Uuid::try_parse(uid).ok()).unwrap_or_default()
}

/// As names need it: the Workspace of a Component or Build, or itself.
#[must_use]
pub fn owner<K: Resource>(object: &K) -> (String, String) {
    let name = object.labels().get(labels::WORKSPACE).cloned().unwrap_or_else(|| object.name_any());
    let uid = object.labels().get(labels::WORKSPACE_UID).cloned().or_else(|| object.uid()).unwrap_or_default();
    (name, uid)
}

/// Whether an administrator gave up what a Workspace has outside: the annotation names exactly this one.
#[must_use]
pub fn is_abandoned(workspace: &Workspace) -> bool {
    let deleting = workspace.metadata.deletion_timestamp.is_some();
    let uid = workspace.uid().filter(|uid| !uid.is_empty());
    deleting && uid.is_some() && workspace.annotations().get(labels::ABANDON_EXTERNAL) == uid.as_ref()
}

/// What a change of tries everything outside again now: the user's word, and an administrator's.
#[must_use]
pub fn outside_word(workspace: &Workspace) -> String {
    format!("{}{}", retry_word(workspace), if is_abandoned(workspace) { "abandoned" } else { "" })
}

/// What a user changes to try again now.
#[must_use]
pub fn retry_word<K: Resource>(object: &K) -> &str {
    object.annotations().get(labels::RETRY).map_or("", String::as_str)
}

/// The owner that garbage collection follows, and that no other controller adopts.
#[must_use]
pub fn controller<K: Resource<DynamicType = ()>>(object: &K) -> Option<OwnerReference> {
    object.controller_owner_ref(&())
}

/// Whether an object was made by this one.
#[must_use]
pub fn is_of<K: Resource>(object: &K, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
}
