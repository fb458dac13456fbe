//! Every object of the four kinds, as the watches returned it last, and what belongs to what.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::runtime::reflector::store::Writer;
use kube::{Resource, ResourceExt as _};
use sequencer_api::host::belongs;
use sequencer_api::owner::{controller, is_controlled_by, is_let_go};
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use uuid::Uuid;

use crate::denied::{Denials, Denied};
use crate::owned::Owned;

mod index;

pub use index::{Index, Key};

pub struct Cache {
    pub workspaces: Index<Workspace>,
    pub components: Index<Component>,
    pub builds: Index<Build>,
    pub records: Index<DNSRecord>,
    /// What the API server does not take now.
    pub denials: Denials,
    namespace: String,
    /// Workspaces that an administrator gave up.
    abandoned: Mutex<HashMap<String, Abandoned>>,
}

/// How far the end of a Workspace has come that an administrator gave up.
#[derive(Clone, Copy, Debug)]
struct Abandoned {
    /// Whether it still has records: they go first.
    records: bool,
    /// Since when that is known here.
    since: Timestamp,
}

/// What fills a [`Cache`].
#[derive(Debug)]
pub struct Writers {
    pub workspaces: Writer<Workspace>,
    pub components: Writer<Component>,
    pub builds: Writer<Build>,
    pub records: Writer<DNSRecord>,
}

impl Cache {
    /// Nothing is known yet. `namespace` is where DNSRecords live, and the cluster's id is part of
    /// hosts.
    #[must_use]
    pub fn new(namespace: &str, cluster_id: &str) -> (Self, Writers) {
        let cluster_id = cluster_id.to_owned();
        let (workspaces, workspaces_writer) = Index::new(move |workspace: &Workspace| {
            let hosts = workspace.hosts(&cluster_id).into_iter().map(Key::Host);
            hosts.chain([namespace_of(workspace)]).collect()
        });
        let (components, components_writer) = Index::new(keys::<Component, Workspace>);
        let (builds, builds_writer) = Index::new(keys::<Build, Component>);
        let (records, records_writer) = Index::new(|record: &DNSRecord| {
            let owner = record.labels().get(labels::WORKSPACE_UID);
            owner.cloned().map(Key::Owner).into_iter().collect()
        });

        let cache = Self {
            workspaces,
            components,
            builds,
            records,
            denials: Denials::default(),
            namespace: namespace.into(),
            abandoned: Mutex::default(),
        };

        let writers = Writers {
            workspaces: workspaces_writer,
            components: components_writer,
            builds: builds_writer,
            records: records_writer,
        };

        (cache, writers)
    }

    /// Waits until every kind was listed once. No decision is safe on a part of what exists.
    pub async fn ready(&self) {
        self.workspaces.ready().await;
        self.components.ready().await;
        self.builds.ready().await;
        self.records.ready().await;
    }

    /// A Workspace with everything that belongs to it.
    #[must_use]
    pub fn owned_by(&self, workspace: &Workspace) -> Owned {
        let key = Key::Owner(workspace.uid_str().to_owned());
        let (components, others): (Vec<_>, Vec<_>) = self
            .components
            .of(&key)
            .into_iter()
            .partition(|found| is_controlled_by(found.as_ref(), workspace));
        let let_go = others
            .into_iter()
            .filter(|found| is_let_go(found, workspace));
        let mut records = self.records.of(&key);
        records.retain(|record| belongs(record, workspace));
        self.note(workspace, !records.is_empty());

        Owned {
            builds: self.made_by(&components),
            records,
            // What was begun goes on, whatever comes before it: nothing is counted for it.
            older: if components.is_empty() {
                self.older(workspace)
            } else {
                0
            },
            abandoned_since: self.abandoned_since(workspace.metadata.uid.as_deref()),
            denied: self.denied(&components, Some(workspace)),
            workspace: self.current(
                workspace.namespace().as_deref(),
                &workspace.name_any(),
                workspace.uid().as_deref(),
            ),
            let_go: let_go.collect(),
            components,
        }
    }

    /// Returns what the Workspace of a Component owns; for a Component on its own, everything on its own
    /// in its namespace.
    /// Nothing if the Workspace that controls it is not there, and it is about to go too, or if it is to
    /// be given its owner back: it is nobody's meanwhile.
    #[must_use]
    pub fn owned_with(&self, component: &Component) -> Option<Owned> {
        match self.above(component) {
            Above::Workspace(workspace) => Some(self.owned_by(&workspace)),
            Above::Nobody => Some(self.standalone(component.namespace_str())),
            Above::Gone => None,
        }
    }

    /// The Workspace that a record was made for.
    #[must_use]
    pub fn workspace_of_record(&self, record: &DNSRecord) -> Option<Arc<Workspace>> {
        let label = |name: &str| record.labels().get(name).map(String::as_str);
        self.current(
            label(labels::WORKSPACE_NAMESPACE),
            label(labels::WORKSPACE)?,
            label(labels::WORKSPACE_UID),
        )
    }

    /// The Workspace that a Component was made for whose owner somebody took away.
    #[must_use]
    pub fn made_for(&self, component: &Component) -> Option<Arc<Workspace>> {
        let label = |name: &str| component.labels().get(name).map(String::as_str);
        let named = self.current(
            component.namespace().as_deref(),
            label(labels::WORKSPACE)?,
            label(labels::WORKSPACE_UID),
        );
        named.filter(|workspace| is_let_go(component, workspace))
    }

    /// Returns what the Workspace of a record owns.
    #[must_use]
    pub fn owned_of_record(&self, record: &DNSRecord) -> Owned {
        let uid = record
            .labels()
            .get(labels::WORKSPACE_UID)
            .map(String::as_str);
        let gone = || Owned {
            abandoned_since: self.abandoned_since(uid),
            ..Owned::default()
        };

        self.workspace_of_record(record)
            .map_or_else(gone, |workspace| self.owned_by(&workspace))
    }

    /// The uid that the commands, the traces and the log of a Build carry: that of the Workspace or
    /// the Component that made it, or its own.
    #[must_use]
    pub fn owner_of_build(&self, build: &Build) -> Uuid {
        let Some(maker) = self.maker(build) else {
            return build.uuid();
        };
        match self.above(&maker) {
            Above::Workspace(workspace) => workspace.uuid(),
            Above::Nobody | Above::Gone => maker.uuid(),
        }
    }

    /// The Component that made a Build.
    #[must_use]
    pub fn maker(&self, build: &Build) -> Option<Arc<Component>> {
        let owner = controller::<Component>(build)?;
        let found = self.components.get(&build.namespace()?, &owner.name)?;
        (found.metadata.uid.as_ref() == Some(&owner.uid)).then_some(found)
    }

    /// The Workspaces of a namespace.
    #[must_use]
    pub fn in_namespace_of(&self, workspace: &Workspace) -> Vec<Arc<Workspace>> {
        self.workspaces.of(&namespace_of(workspace))
    }

    /// The Builds of a namespace that may have to be built yet.
    #[must_use]
    pub fn pending_builds(&self, build: &Build) -> Vec<Arc<Build>> {
        let mut builds = self.builds.of(&namespace_of(build));
        builds.retain(|build| build.is_pending());
        builds
    }

    /// The Workspaces that ask for a record's host, whoever holds it.
    #[must_use]
    pub fn asking_for(&self, record: &DNSRecord) -> Vec<Arc<Workspace>> {
        self.workspaces.of(&Key::Host(record.spec.fqdn()))
    }

    /// Whoever has a record's name.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<Arc<DNSRecord>> {
        self.records.get(&self.namespace, name)
    }

    /// Remembers since when it is known that a Workspace is given up. Its tunnel gets as much time
    /// as its records had before.
    fn note(&self, workspace: &Workspace, records: bool) {
        let Some(uid) = &workspace.metadata.uid else {
            return;
        };

        let mut abandoned = self.abandoned();
        let same = |before: &Abandoned| before.records == records;

        if !workspace.is_abandoned() {
            abandoned.remove(uid);
        } else if !abandoned.get(uid).is_some_and(same) {
            let since = Timestamp::now();
            abandoned.insert(uid.clone(), Abandoned { records, since });
        }
    }

    fn above(&self, component: &Component) -> Above {
        let Some(owner) = controller::<Workspace>(component) else {
            let made_for = self.made_for(component);
            return made_for.map_or(Above::Nobody, |_workspace| Above::Gone);
        };

        let found = self.current(
            component.namespace().as_deref(),
            &owner.name,
            Some(&owner.uid),
        );
        found.map_or(Above::Gone, Above::Workspace)
    }

    /// A Workspace as it is now, if it is still the one of this uid.
    fn current(
        &self,
        namespace: Option<&str>,
        name: &str,
        uid: Option<&str>,
    ) -> Option<Arc<Workspace>> {
        let found = self.workspaces.get(namespace?, name)?;
        (uid.is_some() && found.metadata.uid.as_deref() == uid).then_some(found)
    }

    fn standalone(&self, namespace: &str) -> Owned {
        let key = Key::Standalone(namespace.into());
        let components = self.components.of(&key);
        let mut builds = self.builds.of(&key);
        builds.extend(self.made_by(&components));
        builds.sort_by_cached_key(|build| build.name_any());
        Owned {
            denied: self.denied(&components, None),
            builds,
            components,
            ..Owned::default()
        }
    }

    fn denied(
        &self,
        components: &[Arc<Component>],
        workspace: Option<&Workspace>,
    ) -> HashMap<Uuid, Vec<Denied>> {
        let components = components.iter().map(|component| component.uuid());
        let uids = components.chain(workspace.map(|workspace| workspace.uuid()));
        uids.map(|uid| (uid, self.denials.of(uid)))
            .filter(|(_, denied)| !denied.is_empty())
            .collect()
    }

    /// The Builds of these Components, by name.
    fn made_by(&self, components: &[Arc<Component>]) -> Vec<Arc<Build>> {
        let of = |component: &Arc<Component>| {
            let mut builds = self.builds.of(&Key::Owner(component.uid_str().to_owned()));
            builds.retain(|build| is_controlled_by(build.as_ref(), component.as_ref()));
            builds
        };

        let mut builds: Vec<_> = components.iter().flat_map(of).collect();
        builds.sort_by_cached_key(|build| build.name_any());
        builds
    }

    /// How many Workspaces of the same namespace come before this one: what was made earlier, and
    /// what was begun. Of two that were made in one second the later may look like the earlier.
    fn older(&self, workspace: &Workspace) -> usize {
        let components = self.components.of(&namespace_of(workspace));
        let begun: HashSet<_> = components
            .iter()
            .filter_map(|found| controller::<Workspace>(found.as_ref()))
            .map(|owner| owner.uid.as_str())
            .collect();
        let age = |of: &Workspace| (of.creation_timestamp().map(|created| created.0), of.uid());
        let before = |other: &&Arc<Workspace>| {
            let earlier = age(other) < age(workspace)
                || other.uid().is_some_and(|uid| begun.contains(uid.as_str()));
            other.uid() != workspace.uid() && earlier
        };

        self.in_namespace_of(workspace)
            .iter()
            .filter(before)
            .count()
    }

    fn abandoned_since(&self, uid: Option<&str>) -> Option<Timestamp> {
        self.abandoned().get(uid?).map(|abandoned| abandoned.since)
    }

    fn abandoned(&self) -> MutexGuard<'_, HashMap<String, Abandoned>> {
        self.abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a Component stands under.
enum Above {
    Workspace(Arc<Workspace>),
    /// No Workspace controls it: it is on its own.
    Nobody,
    /// The Workspace that it names is not there, or not in its namespace; or it is to be given its
    /// owner back.
    Gone,
}

fn namespace_of<K: Resource>(object: &K) -> Key {
    Key::Namespace(object.namespace_str().to_owned())
}

/// By its controller of kind `O`, or as one that has none and by the uid that its label names, and by
/// its namespace.
fn keys<K: Resource, O: Resource<DynamicType = ()>>(object: &K) -> Vec<Key> {
    let namespace = namespace_of(object);
    if let Some(owner) = controller::<O>(object) {
        return vec![Key::Owner(owner.uid.clone()), namespace];
    }

    let made_for = object.labels().get(labels::WORKSPACE_UID);
    let made_for = made_for.map(|uid| Key::Owner(uid.clone()));
    let alone = Key::Standalone(object.namespace_str().to_owned());
    [alone, namespace].into_iter().chain(made_for).collect()
}

#[cfg(test)]
pub(crate) mod tests;
