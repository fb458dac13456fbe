//! Everything that there is, as the API server told last: reflectors of the four kinds, and who has to look when one
//! changes. Each is listed anew with every resync, so that nothing that a watch lost stays lost.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as events_of};
use kube::{Api, Client, Resource, ResourceExt as _};
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use sequencer_proto::topics::Kind;
use sequencer_runtime::Handles;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use crate::build::unbuilt;
use crate::family::{Family, is_abandoned, workspace_uid};
use crate::plan::Target;
use crate::unreadable::{Unreadable, Unreadables};

/// How many kinds there are.
const KINDS: usize = 4;

/// Who has to look again.
#[derive(Clone, Debug)]
pub struct Queues {
    workspaces: UnboundedSender<ObjectRef<Workspace>>,
    components: UnboundedSender<ObjectRef<Component>>,
    builds: UnboundedSender<ObjectRef<Build>>,
    records: UnboundedSender<ObjectRef<DNSRecord>>,
}

/// The other ends of [`Queues`].
#[derive(Debug)]
pub struct Lookouts {
    /// Workspaces to look at.
    pub workspaces: UnboundedReceiver<ObjectRef<Workspace>>,
    /// Components to look at.
    pub components: UnboundedReceiver<ObjectRef<Component>>,
    /// Builds to look at.
    pub builds: UnboundedReceiver<ObjectRef<Build>>,
    /// Records to look at.
    pub records: UnboundedReceiver<ObjectRef<DNSRecord>>,
}

/// The objects. Clones share them.
#[derive(Clone, Debug)]
pub struct World {
    /// Every Workspace.
    pub workspaces: Store<Workspace>,
    /// Every Component.
    pub components: Store<Component>,
    /// Every Build.
    pub builds: Store<Build>,
    /// Every DNSRecord.
    pub records: Store<DNSRecord>,
    /// What is there and cannot be read.
    pub unreadable: Unreadables,
    namespace: String,
    queues: Queues,
    /// Workspaces that an administrator gave up, and since when that is known here.
    abandoned: Arc<Mutex<HashMap<String, Timestamp>>>,
    /// How many kinds were listed.
    listed: watch::Sender<usize>,
}

/// What fills a [`World`].
#[derive(Debug)]
pub struct Writers {
    /// Of Workspaces.
    pub workspaces: Writer<Workspace>,
    /// Of Components.
    pub components: Writer<Component>,
    /// Of Builds.
    pub builds: Writer<Build>,
    /// Of DNSRecords.
    pub records: Writer<DNSRecord>,
}

impl World {
    /// Nothing is known yet. `namespace` is where DNSRecords live.
    #[must_use]
    pub fn new(namespace: &str) -> (Self, Writers, Lookouts) {
        let (workspaces, workspaces_writer) = store();
        let (components, components_writer) = store();
        let (builds, builds_writer) = store();
        let (records, records_writer) = store();
        let (queue_w, look_w) = unbounded_channel();
        let (queue_c, look_c) = unbounded_channel();
        let (queue_b, look_b) = unbounded_channel();
        let (queue_r, look_r) = unbounded_channel();
        let queues = Queues { workspaces: queue_w, components: queue_c, builds: queue_b, records: queue_r };
        let world = Self {
            workspaces,
            components,
            builds,
            records,
            unreadable: Unreadables::default(),
            namespace: namespace.into(),
            queues,
            abandoned: Arc::default(),
            listed: watch::Sender::new(0),
        };
        let writers = Writers {
            workspaces: workspaces_writer,
            components: components_writer,
            builds: builds_writer,
            records: records_writer,
        };
        (world, writers, Lookouts { workspaces: look_w, components: look_c, builds: look_b, records: look_r })
    }

    /// Waits until every kind was listed once.
    pub async fn known(&self) {
        // It fails only if the sender is gone, and this value holds one.
        drop(self.listed.subscribe().wait_for(|kinds| *kinds >= KINDS).await);
    }

    /// One more kind was listed for the first time.
    pub fn lists_one_more(&self) {
        self.listed.send_modify(|kinds| *kinds += 1);
    }

    /// The Workspace of an object with everything that belongs to it; for an object on its own, everything on its own in
    /// its namespace.
    #[must_use]
    pub fn family<K: Resource>(&self, object: &K) -> Family {
        self.family_of(workspace_uid(object), object.namespace().as_deref())
    }

    /// By a Workspace's uid, or without one by a namespace.
    #[must_use]
    pub fn family_of(&self, uid: Option<&str>, namespace: Option<&str>) -> Family {
        fn belongs<K: Resource>(object: &K, uid: Option<&str>, namespace: Option<&str>) -> bool {
            workspace_uid(object) == uid && (uid.is_some() || object.namespace().as_deref() == namespace)
        }
        let workspace = uid.and_then(|uid| self.workspaces.find(|found| found.metadata.uid.as_deref() == Some(uid)));
        let components = sorted(self.components.state_filter(|found| belongs(found, uid, namespace)));
        // What was begun goes on, whatever comes before it: nothing is counted for it.
        let waits = workspace.as_deref().filter(|_| components.is_empty());
        Family {
            older: waits.map_or(0, |workspace| self.older(workspace)),
            workspace,
            components,
            builds: sorted(self.builds.state_filter(|found| belongs(found, uid, namespace))),
            records: sorted(self.records.state_filter(|found| uid.is_some() && belongs(found, uid, namespace))),
            abandoned_since: uid.and_then(|uid| self.abandoned().get(uid).copied()),
        }
    }

    /// How many Workspaces of the same namespace come before this one: what was made earlier, and what was begun. Of two that
    /// were made in one second the later may look like the earlier.
    fn older(&self, workspace: &Workspace) -> usize {
        let namespace = workspace.namespace();
        let begun = self.components.state_filter(|component| component.namespace() == namespace);
        let begun: HashSet<_> = begun.iter().filter_map(|component| workspace_uid(component.as_ref())).collect();
        let age = |of: &Workspace| (of.creation_timestamp().map(|created| created.0), of.uid());
        let before = |other: &Workspace| {
            let earlier = age(other) < age(workspace) || other.uid().is_some_and(|uid| begun.contains(uid.as_str()));
            other.namespace() == namespace && other.uid() != workspace.uid() && earlier
        };
        self.workspaces.state_filter(before).len()
    }

    /// The Builds of a namespace that may have to be built yet.
    #[must_use]
    pub fn unbuilt(&self, namespace: Option<&str>) -> Vec<Arc<Build>> {
        self.builds.state_filter(|build| build.namespace().as_deref() == namespace && unbuilt(build))
    }

    /// Whoever has a record's name.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<Arc<DNSRecord>> {
        self.records.get(&ObjectRef::new(name).within(&self.namespace))
    }

    /// Looks at everything.
    pub fn look_at_all(&self) {
        self.workspaces.state().iter().for_each(|object| queue(&self.queues.workspaces, object.as_ref()));
        self.components.state().iter().for_each(|object| queue(&self.queues.components, object.as_ref()));
        self.builds.state().iter().for_each(|object| queue(&self.queues.builds, object.as_ref()));
        self.records.state().iter().for_each(|object| queue(&self.queues.records, object.as_ref()));
    }

    /// A Workspace changed: its Components may hold its host, and its records may have lost their owner.
    pub fn on_workspace(&self, workspace: &Workspace) {
        if let Some(uid) = &workspace.metadata.uid {
            let mut abandoned = self.abandoned();
            if is_abandoned(workspace) {
                abandoned.entry(uid.clone()).or_insert_with(Timestamp::now);
            } else {
                abandoned.remove(uid);
            }
        }
        queue(&self.queues.workspaces, workspace);
        let family = self.family_of(workspace.metadata.uid.as_deref(), None);
        family.components.iter().for_each(|component| queue(&self.queues.components, component.as_ref()));
        family.records.iter().for_each(|record| queue(&self.queues.records, record.as_ref()));
    }

    /// A Workspace is gone: another may take its place.
    pub fn without_workspace(&self, workspace: &Workspace) {
        self.on_workspace(workspace);
        let others = self.workspaces.state_filter(|other| other.namespace() == workspace.namespace());
        others.iter().for_each(|other| queue(&self.queues.workspaces, other.as_ref()));
    }

    fn abandoned(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Component changed: whoever waits for it, and its Workspace.
    pub fn on_component(&self, component: &Component) {
        queue(&self.queues.components, component);
        let family = self.family(component);
        family.components.iter().for_each(|sibling| queue(&self.queues.components, sibling.as_ref()));
        family.workspace.iter().for_each(|workspace| queue(&self.queues.workspaces, workspace.as_ref()));
    }

    /// A Build changed: every Component that may use its image, and the Builds that wait for their turn.
    pub fn on_build(&self, build: &Build) {
        queue(&self.queues.builds, build);
        self.unbuilt(build.namespace().as_deref()).iter().for_each(|other| queue(&self.queues.builds, other.as_ref()));
        self.family(build).components.iter().for_each(|component| queue(&self.queues.components, component.as_ref()));
    }

    /// A record changed: its Workspace, and whoever waits for its name.
    pub fn on_record(&self, record: &DNSRecord) {
        queue(&self.queues.records, record);
        self.family(record).workspace.iter().for_each(|workspace| queue(&self.queues.workspaces, workspace.as_ref()));
    }
}

fn sorted<K: Resource>(mut objects: Vec<Arc<K>>) -> Vec<Arc<K>> {
    objects.sort_by_cached_key(|object| object.name_any());
    objects
}

fn queue<K: Resource<DynamicType = ()>>(queue: &UnboundedSender<ObjectRef<K>>, object: &K) {
    // It fails only while the process ends.
    drop(queue.send(ObjectRef::from_obj(object)));
}

/// Where a kind is followed.
#[derive(Debug)]
pub struct Follow<K: Clone + Debug> {
    /// Its objects.
    pub api: Api<DeserializeGuard<K>>,
    /// Its word.
    pub kind: Kind,
    /// How often they are listed anew.
    pub resync: Duration,
    /// Shutdown and readiness.
    pub handles: Handles,
}

impl<K> Follow<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Keeps a store up to date until shutdown. `changed` hears of each object that is there, `gone` of each that is not
    /// any more.
    pub async fn run(self, mut writer: Writer<K>, world: &World, changed: impl Fn(&K), gone: impl Fn(&K)) {
        let part = self.handles.readiness.part(format!("list of {}", K::plural(&())));
        let mut first = true;
        let (mut known, reader) = (HashSet::new(), writer.as_reader());
        loop {
            let events = events_of(self.api.clone(), watcher::Config::default()).default_backoff();
            let mut events = std::pin::pin!(events.modify(|object| object.managed_fields_mut().clear()));
            let over = sleep(self.resync);
            let mut over = std::pin::pin!(over);
            let mut listed = false;
            loop {
                let event = tokio::select! {
                    () = self.handles.shutdown.stopping() => return,
                    // A list that is not whole yet is not thrown away.
                    () = &mut over, if listed => break,
                    event = events.next() => event,
                };
                match event {
                    Some(Ok(event)) => {
                        let event = match readable(self.kind, event) {
                            Ok(event) => event,
                            Err(found) => match reader.get(&self.set_aside(&mut known, found, world)) {
                                Some(old) => Event::Delete(old.as_ref().clone()),
                                None => continue,
                            },
                        };
                        writer.apply_watcher_event(&event);
                        match &event {
                            Event::Apply(object) | Event::InitApply(object) => changed(object),
                            Event::Delete(object) => gone(object),
                            Event::InitDone => {
                                listed = true;
                                part.set(true);
                                if std::mem::take(&mut first) {
                                    world.lists_one_more();
                                }
                            }
                            Event::Init => {}
                        }
                    }
                    Some(Err(error)) => {
                        part.set(false);
                        warn!(kind = %K::kind(&()), %error, "cannot follow a kind");
                    }
                    None => break,
                }
            }
        }
    }

    /// One that cannot be read holds up no other. What was read of it before is forgotten: nobody acts by it.
    fn set_aside(&self, known: &mut HashSet<Unreadable>, found: Unreadable, world: &World) -> ObjectRef<K> {
        let Target { namespace, name, .. } = &found.target;
        let which = ObjectRef::new(name).within(namespace);
        if known.insert(found.clone()) {
            warn!(kind = %K::kind(&()), namespace, name, "cannot read an object");
        }
        world.unreadable.add(found);
        which
    }
}

/// An event of an object that can be read, or the object that cannot.
fn readable<K>(kind: Kind, event: Event<DeserializeGuard<K>>) -> Result<Event<K>, Unreadable> {
    let read = |object: DeserializeGuard<K>| object.0.map_err(|invalid| Unreadable::new(kind, invalid));
    Ok(match event {
        Event::Apply(object) => Event::Apply(read(object)?),
        Event::InitApply(object) => Event::InitApply(read(object)?),
        Event::Delete(object) => Event::Delete(read(object)?),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    })
}

/// Objects of a kind, everywhere or in one namespace.
#[must_use]
pub fn everywhere<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
