//! What was made, followed: an object comes again only if something of it changed that matters. Of
//! each object one number is kept.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use sequencer_api::labels;
use sequencer_api::stored::Stored as _;
use sequencer_runtime::error::chain;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tracing::warn;

use crate::read::PAGE;
use crate::readiness::pods;

/// What watches of children tell their controller.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    /// Dropped by each watch when it has listed its kind the first time: nothing is reconciled
    /// before, since what changes meanwhile is not seen.
    pub(crate) first: Sender<Infallible>,
    /// What changed cannot be known, because nobody followed for a while.
    pub(crate) again: UnboundedSender<()>,
}

/// Watches the objects of a kind that Sequencer made. `facts` is what matters of one. What there is
/// at the first list does not come.
pub(crate) fn changes<K, F>(
    api: Api<K>,
    facts: fn(&K) -> F,
    lists: &Lists,
) -> impl Stream<Item = watcher::Result<K>> + Send + use<K, F>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Hash + 'static,
{
    let config = Config::default()
        .labels(&format!("{}={}", labels::MANAGED_BY, labels::SEQUENCER))
        .page_size(PAGE);
    let mut known = Known::new(lists);

    following::<K, _>(watcher(api, config)).filter_map(move |event| {
        let changed = event.map(|event| known.changed(event, facts));
        std::future::ready(changed.transpose())
    })
}

/// The events of a watch, which begins anew whenever it breaks.
pub(crate) fn following<K, T>(
    events: impl Stream<Item = watcher::Result<T>> + Send,
) -> impl Stream<Item = watcher::Result<T>> + Send
where
    K: Resource<DynamicType = ()>,
    T: Send,
{
    events.default_backoff().filter_map(|event| {
        let event = event.inspect_err(|error| {
            warn!(error = chain(error), kind = %K::kind(&()), "Failed to watch");
        });
        // One broken watch holds up no other.
        std::future::ready(event.ok().map(Ok))
    })
}

/// The objects of a kind, by uid, each as a hash of its facts.
#[derive(Debug)]
struct Known {
    hashes: HashMap<String, u64>,
    first: Option<Sender<Infallible>>,
    again: UnboundedSender<()>,
}

impl Known {
    fn new(lists: &Lists) -> Self {
        Self {
            hashes: HashMap::new(),
            first: Some(lists.first.clone()),
            again: lists.again.clone(),
        }
    }

    /// Takes an event in, and returns its object if that changed.
    fn changed<K, F>(&mut self, event: Event<K>, facts: fn(&K) -> F) -> Option<K>
    where
        K: Resource<DynamicType = ()>,
        F: Hash,
    {
        match event {
            Event::Init => self.hashes.clear(),
            Event::InitApply(object) => {
                self.put(&object, facts);
            }
            Event::InitDone => {
                if self.first.take().is_none() {
                    // It fails only while the process ends.
                    self.again.send(()).ok();
                }
            }
            Event::Apply(object) => return self.put(&object, facts).then_some(object),
            Event::Delete(object) => {
                self.hashes.remove(object.uid_str());
                return Some(object);
            }
        }
        None
    }

    /// Whether the facts of the object are new.
    fn put<K, F>(&mut self, object: &K, facts: fn(&K) -> F) -> bool
    where
        K: Resource<DynamicType = ()>,
        F: Hash,
    {
        let mut hasher = DefaultHasher::new();
        facts(object).hash(&mut hasher);
        let hash = hasher.finish();

        self.hashes.insert(object.uid_str().into(), hash) != Some(hash)
    }
}

/// What a Service does, and whose it is.
pub(crate) fn service(service: &Service) -> impl Hash + use<> {
    (serde_json::to_string(&service.spec).ok(), marks(service))
}

/// Which spec a NetworkPolicy has, and whose it is.
pub(crate) fn policy(policy: &NetworkPolicy) -> impl Hash + use<> {
    (policy.metadata.generation, marks(policy))
}

/// What is planned of an object besides its spec.
fn marks<K: ResourceExt>(object: &K) -> impl Hash + use<K> {
    let owners = object.owner_references().iter();
    (
        object.labels().clone(),
        object.annotations().clone(),
        owners.map(|owner| owner.uid.clone()).collect::<Vec<_>>(),
    )
}

/// How far a Deployment has come.
pub(crate) fn deployment(deployment: &Deployment) -> impl Hash + use<> {
    let status = deployment.status.clone().unwrap_or_default();
    let conditions = status.conditions.into_iter().flatten();
    let conditions = conditions.map(|found| (found.type_, found.status, found.reason));

    (
        deployment.metadata.generation,
        status.observed_generation,
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
        ],
        conditions.collect::<Vec<_>>(),
    )
}

/// How far a Job has come.
pub(crate) fn job(job: &Job) -> impl Hash + use<> {
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.into_iter().flatten();
    let conditions = conditions.map(|found| (found.type_, found.status, found.reason));

    (
        job.metadata.generation,
        [status.active, status.succeeded, status.failed],
        conditions.collect::<Vec<_>>(),
    )
}

/// Where an Ingress can be reached.
pub(crate) fn ingress(ingress: &Ingress) -> impl Hash + use<> {
    let status = ingress.status.clone().unwrap_or_default();
    let points = status.load_balancer.and_then(|balancer| balancer.ingress);
    let addresses = points
        .into_iter()
        .flatten()
        .map(|point| (point.ip, point.hostname));

    (ingress.metadata.generation, addresses.collect::<Vec<_>>())
}

/// What is wrong with a pod, or has been, and the image that it waits for. Its readiness shows on
/// its Deployment.
pub(crate) fn pod(pod: &Pod) -> impl Hash + use<> {
    let pulling = pods::pulling(pod).map(str::to_owned);
    let status = pod.status.clone().unwrap_or_default();
    let init = status.init_container_statuses.into_iter().flatten();
    let containers = init.chain(status.container_statuses.into_iter().flatten());
    let mut conditions = status.conditions.into_iter().flatten();

    (
        pulling,
        containers.filter_map(trouble).collect::<Vec<_>>(),
        conditions.any(|found| found.reason.as_deref() == Some("Unschedulable")),
    )
}

fn trouble(container: ContainerStatus) -> Option<(Option<String>, Option<String>, i32)> {
    let starts = pods::is_starting(&container);
    let restarts = container.restart_count;
    let state = container.state.unwrap_or_default();
    let waits = state.waiting.and_then(|waiting| waiting.reason);
    let ended = state.terminated.and_then(|terminated| terminated.reason);
    let well = waits.is_none() && ended.is_none() && restarts == 0;

    (!starts && !well).then_some((waits, ended, restarts))
}

#[cfg(test)]
mod tests;
