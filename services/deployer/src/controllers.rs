//! The two controllers. Each follows the metadata of its kind and what was made for it, and
//! reconciles what changed.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{Stream, once, poll_fn};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service as CoreService};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{PredicateConfig, WatchStreamExt as _};
use kube::{Resource, ResourceExt};
use sequencer_api::owner::controller;
use sequencer_api::{Component, Workspace, labels};
use sequencer_runtime::Handles;
use sequencer_runtime::error::chain;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};
use tracing::debug;

use crate::changes::{self, Lists, changes, following};
use crate::reconcile::{Reconciled, after_error, reconcile};
use crate::service::Service;
use crate::triggers::{Receivers, Reference};

/// Changes that come together are reconciled together.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// How many objects of a kind are reconciled at once.
const CONCURRENCY: u16 = 16;

/// What is kept of an object.
type Meta<K> = PartialObjectMeta<K>;

/// Reconciles what changed and what messages name, until shutdown.
pub async fn run(service: Service, receivers: Receivers, handles: Handles) {
    tokio::join!(
        components(service.clone(), receivers.components, handles.clone()),
        workspaces(service, receivers.workspaces, handles),
    );
}

async fn components(
    service: Service,
    triggered: UnboundedReceiver<Reference<Component>>,
    handles: Handles,
) {
    let (lists, listed) = lists();
    let controller = follow::<Component>(&service, triggered, listed, &lists, &handles);
    let components = controller.store();

    let deployments = changes(service.watched(), changes::deployment, &lists);
    let jobs = changes(service.watched(), changes::job, &lists);
    let services = changes(service.watched(), changes::service, &lists);
    let services = heard(services, &service);
    let pods = changes(service.watched(), changes::pod, &lists);
    let policies = changes(service.watched(), changes::policy, &lists);
    let policies = heard(policies, &service);

    drop(lists);

    let controller = controller
        .owns_stream::<Deployment>(deployments)
        .owns_stream::<Job>(jobs)
        .owns_stream::<CoreService>(services)
        .watches_stream(pods, |pod| component_of(&pod))
        .watches_stream(policies, move |policy| makers(&policy, &components));
    drive(controller, service).await;
}

async fn workspaces(
    service: Service,
    triggered: UnboundedReceiver<Reference<Workspace>>,
    handles: Handles,
) {
    let (lists, listed) = lists();
    let controller = follow::<Workspace>(&service, triggered, listed, &lists, &handles);

    let ingresses = changes(service.watched(), changes::ingress, &lists);
    drop(lists);
    drive(controller.owns_stream(ingresses), service).await;
}

/// The controller's ends of [`Lists`].
struct Listed {
    first: Receiver<Infallible>,
    again: UnboundedReceiver<()>,
}

fn lists() -> (Lists, Listed) {
    let ((first, first_end), (again, again_end)) = (channel(1), unbounded_channel());
    let listed = Listed {
        first: first_end,
        again: again_end,
    };
    (Lists { first, again }, listed)
}

/// A controller of a kind's objects, of those that messages name, and of all after a gap in a watch.
fn follow<K: Reconciled>(
    service: &Service,
    mut triggered: UnboundedReceiver<Reference<K>>,
    listed: Listed,
    lists: &Lists,
    handles: &Handles,
) -> Controller<Meta<K>> {
    let (reader, writer) = store();
    let objects = objects(service.clone(), writer, listed.first, lists, handles);
    let mut again = listed.again;
    let again = poll_fn(move |cx| again.poll_recv(cx));
    let missed = service.clone();
    let again = again.inspect(move |()| missed.settled().hear_all());
    let shutdown = handles.shutdown.clone();

    Controller::for_stream(objects, reader)
        .reconcile_on(poll_fn(move |cx| triggered.poll_recv(cx)))
        .reconcile_all_on(again)
        .with_config(
            Config::default()
                .debounce(DEBOUNCE)
                .concurrency(CONCURRENCY),
        )
        .graceful_shutdown_on(async move { shutdown.stopping().await })
}

/// The objects of a kind that are new, or whose spec or owner changed; at first, once their children are
/// listed, all that there are.
fn objects<K: Reconciled>(
    service: Service,
    writer: Writer<Meta<K>>,
    mut children: Receiver<Infallible>,
    lists: &Lists,
    handles: &Handles,
) -> impl Stream<Item = watcher::Result<Meta<K>>> + Send + 'static {
    let ready = handles
        .readiness
        .part(format!("list of {}", K::plural(&())));
    let again = lists.again.clone();
    let follower = service.clone();
    let events = watcher(service.watched::<Meta<K>>(), watcher::Config::default());

    let objects = following::<K, _>(events)
        .modify(|object| {
            object.metadata.managed_fields = None;
            object.metadata.annotations = None;
            object.metadata.labels = None;
        })
        .reflect(writer)
        .inspect(move |event| match event {
            Ok(Event::Delete(object)) => service.forget(object),
            Ok(Event::InitDone) => {
                ready.set(true);
                // An object that was listed again may have been looked for before it was stored. It
                // fails only while the process ends.
                again.send(()).ok();
            }
            _ => {}
        })
        .applied_objects()
        .predicate_filter(generation_and_owner, PredicateConfig::default());

    // Nobody sends: it ends when every watch of children has dropped its end.
    let listed = async move {
        let none = children.recv().await;
        follower.settled().follow();
        none
    };

    once(listed)
        .filter_map(|_none| std::future::ready(None))
        .chain(objects)
}

/// The same changes, each heard by whoever would not look at its object again.
fn heard<K>(
    changes: impl Stream<Item = watcher::Result<K>> + Send + 'static,
    service: &Service,
) -> impl Stream<Item = watcher::Result<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let service = service.clone();
    changes.inspect(move |change| {
        let owners = change.as_ref().map(ResourceExt::owner_references);
        match owners.unwrap_or_default() {
            // Whose it was before, nobody knows.
            [] => service.settled().hear_all(),
            owners => owners
                .iter()
                .for_each(|owner| service.settled().hear(&owner.uid)),
        }
    })
}

/// Whoever owns an object is in its plan, and no part of its spec.
fn generation_and_owner<K: Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let owners = object.owner_references().iter();
    let owners: Vec<_> = owners.map(|owner| owner.uid.as_str()).collect();
    (object.meta().generation, owners).hash(&mut hasher);
    Some(hasher.finish())
}

async fn drive<K: Reconciled>(controller: Controller<Meta<K>>, service: Service) {
    controller
        .run(reconcile::<K>, after_error::<K>, Arc::new(service))
        .for_each(|reconciled| {
            match reconciled {
                Ok((object, next)) => debug!(%object, ?next, "Reconciled"),
                // What failed was logged where it failed; the rest is an object that is gone.
                Err(error) => debug!(error = chain(&error), "Did not reconcile"),
            }
            std::future::ready(())
        })
        .await;
}

/// A pod belongs to a ReplicaSet or a Job: only its labels name the Component. Whoever writes them
/// himself has another reconciled, which changes nothing.
fn component_of(pod: &Pod) -> Option<Reference<Component>> {
    let name = pod.labels().get(labels::INSTANCE)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

/// The Components that make a NetworkPolicy again: of a Workspace's, all.
fn makers(
    policy: &NetworkPolicy,
    components: &Store<Meta<Component>>,
) -> Vec<Reference<Component>> {
    let Some(namespace) = policy.namespace() else {
        return Vec::new();
    };

    if let Some(component) = controller::<Component>(policy) {
        return vec![ObjectRef::new(&component.name).within(&namespace)];
    }

    let Some(workspace) = controller::<Workspace>(policy) else {
        return Vec::new();
    };

    let components = components.state();
    let beside = components.iter().filter(|component| {
        controller::<Workspace>(component.as_ref()).is_some_and(|owner| owner.uid == workspace.uid)
    });

    beside
        .map(|component| ObjectRef::from_obj(component.as_ref()))
        .collect()
}
