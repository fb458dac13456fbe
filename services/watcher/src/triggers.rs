//! Who is reconciled when another object changed.

use std::sync::Arc;

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::cache::{Cache, Index};
use crate::owned::Owned;

/// The objects of a kind that are to be reconciled, from one end to the other.
type Sender<K> = UnboundedSender<ObjectRef<K>>;

/// The end of the kind's controller.
pub type Receiver<K> = UnboundedReceiver<ObjectRef<K>>;

/// To the four controllers.
#[derive(Clone, Debug)]
pub struct Triggers {
    workspaces: Sender<Workspace>,
    components: Sender<Component>,
    builds: Sender<Build>,
    records: Sender<DNSRecord>,
}

/// The controllers' ends of [`Triggers`].
#[derive(Debug)]
pub struct Receivers {
    pub workspaces: Receiver<Workspace>,
    pub components: Receiver<Component>,
    pub builds: Receiver<Build>,
    pub records: Receiver<DNSRecord>,
}

impl Triggers {
    #[must_use]
    pub fn new() -> (Self, Receivers) {
        let (workspaces, workspaces_end) = unbounded_channel();
        let (components, components_end) = unbounded_channel();
        let (builds, builds_end) = unbounded_channel();
        let (records, records_end) = unbounded_channel();
        let triggers = Self {
            workspaces,
            components,
            builds,
            records,
        };

        let receivers = Receivers {
            workspaces: workspaces_end,
            components: components_end,
            builds: builds_end,
            records: records_end,
        };

        (triggers, receivers)
    }

    /// Everything, for what was missed or lost.
    pub fn all(&self, cache: &Cache) {
        every(&self.workspaces, &cache.workspaces);
        every(&self.components, &cache.components);
        every(&self.builds, &cache.builds);
        every(&self.records, &cache.records);
    }

    /// A Workspace changed: its Components may hold its host, its records may have lost their
    /// owner, and what failed may have to be tried again.
    pub fn workspace(&self, cache: &Cache, workspace: &Workspace) {
        let owned = cache.owned_by(workspace);
        each(&self.components, &owned.components);
        each(&self.builds, &unpublished(&owned));
        each(&self.records, &owned.records);
    }

    /// A Workspace is gone: another may take its place.
    pub fn no_workspace(&self, cache: &Cache, workspace: &Workspace) {
        self.workspace(cache, workspace);
        each(&self.workspaces, &cache.in_namespace_of(workspace));
    }

    /// A Component changed: whoever waits for it, its Workspace, and what failed of its Builds.
    pub fn component(&self, cache: &Cache, component: &Component) {
        let Some(owned) = cache.owned_with(component) else {
            each(&self.workspaces, cache.made_for(component).as_slice());
            return;
        };

        each(&self.components, &owned.components);
        each(&self.builds, &unpublished(&owned));
        each(&self.workspaces, owned.workspace.as_slice());
    }

    /// A Build changed: every Component that may use its image, and the Builds that wait for their
    /// turn.
    pub fn build(&self, cache: &Cache, build: &Build) {
        each(&self.builds, &cache.pending_builds(build));
        let maker = cache.maker(build);
        let owned = maker.and_then(|maker| cache.owned_with(&maker));
        each(&self.components, &owned.unwrap_or_default().components);
    }

    /// A record changed: its Workspace, and all that ask for its host.
    pub fn record(&self, cache: &Cache, record: &DNSRecord) {
        let workspace = cache.workspace_of_record(record);
        each(&self.workspaces, workspace.as_slice());
        each(&self.workspaces, &cache.asking_for(record));
    }
}

fn unpublished(owned: &Owned) -> Vec<Arc<Build>> {
    let builds = owned.builds.iter();
    builds
        .filter(|build| !build.is_published())
        .cloned()
        .collect()
}

fn every<K: Resource<DynamicType = ()> + Clone>(to: &Sender<K>, objects: &Index<K>) {
    each(to, &objects.all());
}

fn each<K: Resource<DynamicType = ()>>(to: &Sender<K>, objects: &[Arc<K>]) {
    for object in objects {
        // It fails only while the process ends.
        drop(to.send(ObjectRef::from_obj(object.as_ref())));
    }
}
