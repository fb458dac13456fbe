//! What was made, watched: what changes in it leads to the same step as a message. Nothing of an
//! object is kept but one number.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service as CoreService};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Resource};
use sequencer_api::labels;
use sequencer_proto::topics::Verb;
use sequencer_runtime::shutdown::Shutdown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::warn;

use crate::handle::Service;
use crate::queue::Key;
use crate::read::PAGE;

/// Changes of one object within this time are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// What of a kind decides anything.
type Pick = fn(&Value) -> Value;

impl Service {
    /// Watches everything that was made, until the process ends.
    pub async fn watch(self, shutdown: Shutdown) {
        let all = async {
            tokio::join!(
                self.follow::<Deployment>(workload),
                self.follow::<Job>(workload),
                self.follow::<Pod>(pod),
                self.follow::<CoreService>(existence),
                self.follow::<NetworkPolicy>(existence),
                self.follow::<Ingress>(workload),
            )
        };
        tokio::select! {
            _ = all => {}
            () = shutdown.stopping() => {}
        }
    }

    async fn follow<K>(&self, pick: Pick)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<K> = match &self.settings().watch_namespace {
            Some(namespace) => Api::namespaced(self.client().clone(), namespace),
            None => Api::all(self.client().clone()),
        };
        let config = Config::default()
            .labels(&format!("{}={}", labels::MANAGED_BY, labels::SEQUENCER))
            .page_size(PAGE);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut known = HashMap::new();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => self.seen(event, pick, &mut known),
                Ok(None) => return,
                Err(error) => warn!(%error, kind = %K::kind(&()), "a watch broke and begins anew"),
            }
        }
    }

    fn seen<K>(&self, event: Event<K>, pick: Pick, known: &mut HashMap<String, u64>)
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        match event {
            Event::Init => known.clear(),
            Event::InitDone => {}
            Event::Apply(object) | Event::InitApply(object) => {
                let mut hasher = DefaultHasher::new();
                let whole = serde_json::to_value(&object).unwrap_or_default();
                pick(&whole).to_string().hash(&mut hasher);
                let uid = object.meta().uid.clone().unwrap_or_default();
                if known.insert(uid, hasher.finish()) != Some(hasher.finish()) {
                    self.wake(&object);
                }
            }
            Event::Delete(object) => {
                known.remove(object.meta().uid.as_deref().unwrap_or_default());
                self.wake(&object);
            }
        }
    }

    /// Has the object looked at that something was made for.
    fn wake<K: Resource<DynamicType = ()>>(&self, object: &K) {
        let label = |name: &str| {
            object
                .meta()
                .labels
                .as_ref()
                .and_then(|labels| labels.get(name))
                .cloned()
        };
        let Some(namespace) = object.meta().namespace.clone() else {
            return;
        };
        let component = label(labels::INSTANCE).map(|name| (Verb::Deploy, name));
        let workspace = label(labels::WORKSPACE).map(|name| (Verb::Ingress, name));
        if let Some((verb, name)) = component.or(workspace) {
            self.queue().add(
                Key {
                    verb,
                    namespace,
                    name,
                },
                DEBOUNCE,
            );
        }
    }
}

/// That it is there.
fn existence(_object: &Value) -> Value {
    Value::Null
}

/// How a Deployment, a Job or an Ingress is, and which.
fn workload(object: &Value) -> Value {
    let get = |path: &str| object.pointer(path).cloned().unwrap_or_default();
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let told = |condition: &Value| {
        [
            condition["type"].clone(),
            condition["status"].clone(),
            condition["reason"].clone(),
        ]
    };
    let conditions = conditions
        .into_iter()
        .flatten()
        .map(|condition| Value::from(told(condition).to_vec()));
    let mut status = get("/status");
    if let Some(status) = status.as_object_mut() {
        status.remove("conditions");
    }
    Value::from(vec![
        get("/metadata/generation"),
        status,
        conditions.collect(),
    ])
}

/// What is wrong with a pod, or what stopped being so. Its readiness shows on its Deployment.
fn pod(object: &Value) -> Value {
    let get = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let containers = get("/status/initContainerStatuses")
        .into_iter()
        .chain(get("/status/containerStatuses"));
    let container = |status: Value| {
        let reason = |path: &str| status.pointer(path).cloned().unwrap_or_default();
        Value::from(vec![
            reason("/state/waiting/reason"),
            reason("/state/terminated/reason"),
            reason("/restartCount"),
        ])
    };
    let dull = Value::from(vec![Value::Null, Value::Null, Value::from(0)]);
    let known = ["PodInitializing", "ContainerCreating"];
    let containers = containers.map(container).filter(|told| {
        *told != dull
            && !told[0]
                .as_str()
                .is_some_and(|reason| known.contains(&reason))
    });
    let scheduled = get("/status/conditions")
        .into_iter()
        .filter(|condition| condition["reason"] == "Unschedulable");
    Value::from(vec![
        containers.collect::<Value>(),
        Value::from(scheduled.count()),
    ])
}
