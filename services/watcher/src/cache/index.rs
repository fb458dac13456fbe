//! The objects of one kind, found by who owns them and where they are.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::store::{Writer, store};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};
use tokio::sync::watch;

/// By what an object is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The uid of its owner.
    Owner(String),
    /// The namespace of one that nobody of ours owns.
    Standalone(String),
    Namespace(String),
    /// A host that it asks for.
    Host(String),
}

/// By what an object of a kind is found.
type Keys<K> = Box<dyn Fn(&K) -> Vec<Key> + Send + Sync>;

/// The objects of a kind. Its [`Writer`] fills the store, and [`Index::update`] follows.
pub struct Index<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    keys: Keys<K>,
    found: Mutex<HashMap<Key, HashSet<ObjectRef<K>>>>,
    listed: watch::Sender<bool>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Index<K> {
    /// Nothing is known yet.
    pub fn new(keys: impl Fn(&K) -> Vec<Key> + Send + Sync + 'static) -> (Self, Writer<K>) {
        let (store, writer) = store();
        let index = Self {
            store,
            keys: Box::new(keys),
            found: Mutex::default(),
            listed: watch::Sender::new(false),
        };

        (index, writer)
    }

    /// What its [`Writer`] was just given.
    pub fn update(&self, event: &Event<K>) {
        match event {
            Event::Apply(object) => self.insert(object),
            Event::Delete(object) => self.remove(object),
            // Until then the store has what was known before.
            Event::InitDone => {
                self.lock().clear();
                self.all().iter().for_each(|object| self.insert(object));
                self.listed.send_replace(true);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// Waits until all were listed once. Many may wait; of those that wait for kube's own store only
    /// the last is woken.
    pub async fn ready(&self) {
        // It fails only when the sender is gone, which is here.
        drop(self.listed.subscribe().wait_for(|listed| *listed).await);
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// The one of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Those of a key, by name.
    pub fn of(&self, key: &Key) -> Vec<Arc<K>> {
        let found = self.lock();
        let found = found.get(key).into_iter().flatten();
        // What has another owner by now is listed under both.
        let mut objects: Vec<_> = found
            .filter_map(|at| self.store.get(at))
            .filter(|object| (self.keys)(object).contains(key))
            .collect();
        objects.sort_by_cached_key(|object| object.name_any());
        objects
    }

    fn insert(&self, object: &K) {
        let mut found = self.lock();
        for key in (self.keys)(object) {
            let at = ObjectRef::from_obj(object);
            found.entry(key).or_default().insert(at);
        }
    }

    fn remove(&self, object: &K) {
        let (mut found, at) = (self.lock(), ObjectRef::from_obj(object));
        for key in (self.keys)(object) {
            if let Some(objects) = found.get_mut(&key) {
                objects.remove(&at);
                if objects.is_empty() {
                    found.remove(&key);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, HashSet<ObjectRef<K>>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sequencer_api::Workspace;
    use serde_json::json;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    fn workspace(namespace: &str, label: &str) -> Workspace {
        let metadata = json!({"name": "w", "namespace": namespace, "labels": {"owner": label}});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"components": []}})).unwrap()
    }

    fn owner(label: &str) -> Key {
        Key::Owner(label.into())
    }

    #[test]
    fn objects_are_found_by_their_present_keys_alone() {
        let (index, mut writer) = Index::new(|workspace: &Workspace| {
            vec![owner(
                workspace.labels().get("owner").map_or("", String::as_str),
            )]
        });
        let mut apply = |event: &Event<Workspace>| {
            writer.apply_watcher_event(event);
            index.update(event);
            [owner("a"), owner("b")].map(|key| index.of(&key).len())
        };

        assert_eq!(apply(&Event::Apply(workspace("m", "a"))), [1, 0]);
        assert_eq!(apply(&Event::Apply(workspace("n", "a"))), [2, 0]);
        assert_eq!(apply(&Event::Apply(workspace("n", "b"))), [1, 1]);
        assert_eq!(apply(&Event::Delete(workspace("n", "b"))), [1, 0]);

        // A list that is not whole yet changes nothing, and what is not in it is gone.
        assert_eq!(apply(&Event::Init), [1, 0]);
        assert_eq!(apply(&Event::InitApply(workspace("o", "b"))), [1, 0]);
        assert_eq!(apply(&Event::InitDone), [0, 1]);
    }

    #[tokio::test]
    async fn everybody_who_waits_for_the_list_goes_on_with_it() {
        let (index, mut writer) = Index::<Workspace>::new(|_workspace| Vec::new());
        let index = Arc::new(index);
        let mut waiting = JoinSet::new();

        for _ in 0..3 {
            let index = Arc::clone(&index);
            waiting.spawn(async move { index.ready().await });
        }

        // All of them are polled.
        tokio::task::yield_now().await;

        for event in [Event::Init, Event::InitDone] {
            writer.apply_watcher_event(&event);
            index.update(&event);
        }

        let all = timeout(Duration::from_secs(5), waiting.join_all()).await;
        assert!(all.is_ok());
    }
}
