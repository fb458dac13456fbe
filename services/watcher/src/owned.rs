//! A Workspace and what belongs to it, as the cache knows it. A Component or Build that was
//! applied on its own is its own Workspace. What belongs to whom follows from controllers and
//! namespaces, and never from labels alone, which anybody may write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};
use sequencer_api::dependencies::is_outdated;
use sequencer_api::labels;
use sequencer_api::names::Owner;
use sequencer_api::stored::Stored;
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use sequencer_runtime::retry::later;
use uuid::Uuid;

use crate::denied::Denied;

/// Everything of one Workspace.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    /// The Workspace; none for objects on their own.
    pub workspace: Option<Arc<Workspace>>,
    /// Its Components, by name.
    pub components: Vec<Arc<Component>>,
    /// Components that were made for it, and whose owner somebody took away.
    pub let_go: Vec<Arc<Component>>,
    /// Its Builds, by name.
    pub builds: Vec<Arc<Build>>,
    /// Its DNSRecords, by name.
    pub records: Vec<Arc<DNSRecord>>,
    /// How many Workspaces of its namespace come before it, as long as it has no Component.
    pub older: usize,
    /// Since when it is known that an administrator gave up what the Workspace has outside and is
    /// to be deleted now.
    pub abandoned_since: Option<Timestamp>,
    /// The writes for the Workspace and for each Component that the API server does not take now.
    pub denied: HashMap<Uuid, Vec<Denied>>,
}

/// Whether what is outside is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandon {
    No,
    /// Then: first the network service may delete what it can.
    At(Timestamp),
    Now,
}

impl Owned {
    /// The writes for an object that the API server does not take now.
    #[must_use]
    pub fn denied(&self, object: &impl Resource) -> &[Denied] {
        self.denied.get(&object.uuid()).map_or(&[], Vec::as_slice)
    }

    /// Whether what is outside is left behind, this long after an administrator said so.
    #[must_use]
    pub fn abandon(&self, after: Duration, now: Timestamp) -> Abandon {
        match self.abandoned_since.map(|since| later(since, after)) {
            None => Abandon::No,
            Some(at) if now < at => Abandon::At(at),
            Some(_) => Abandon::Now,
        }
    }

    /// By whose name and uid everything of a Component is called: its Workspace's, or its own.
    #[must_use]
    pub fn owner<'a>(&'a self, component: &'a Component) -> Owner<'a> {
        let workspace = self.workspace.as_deref();
        workspace.map_or_else(|| Owner::of(component), Owner::of)
    }

    /// The Components that are as the Workspace wants them now.
    pub fn current(&self) -> impl Iterator<Item = &Arc<Component>> {
        self.components.iter().filter(|component| {
            let workspace = self.workspace.as_ref();
            workspace.is_none_or(|workspace| !is_outdated(component, workspace))
        })
    }

    /// The uid that the commands and traces of a Component carry: its Workspace's, or its own.
    #[must_use]
    pub fn owner_uid(&self, component: &Component) -> Uuid {
        self.workspace
            .as_deref()
            .map_or_else(|| component.uuid(), Stored::uuid)
    }
}

/// The uid of the Workspace that a record was made for, or its own. Only the watcher writes these
/// labels: an admission policy keeps them from everybody else.
#[must_use]
pub fn workspace_of_record(record: &DNSRecord) -> Uuid {
    let label = record.labels().get(labels::WORKSPACE_UID);
    label
        .and_then(|uid| Uuid::try_parse(uid).ok())
        .unwrap_or_else(|| record.uuid())
}

/// The reference to the owner that garbage collection follows, and that no other controller adopts.
#[must_use]
pub fn owner_reference<K: Resource<DynamicType = ()>>(object: &K) -> Option<OwnerReference> {
    object.controller_owner_ref(&())
}
