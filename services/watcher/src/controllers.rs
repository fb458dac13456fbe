//! The four controllers: each follows its kind, fills the cache with it, and reconciles what
//! changed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{Stream, poll_fn};
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{Config, Controller, Error};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt as _};
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::Kind;
use sequencer_runtime::Handles;
use sequencer_runtime::error::{catch_panic, chain};
use tracing::{debug, warn};

use crate::reconcile::{Context, Reconciled, after_error, reconcile};
use crate::triggers::Receiver;
use crate::unreadable::Unreadable;

/// Changes that come together are reconciled together.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How many objects of a kind are reconciled at once.
const CONCURRENCY: u16 = 16;

/// What `kubectl apply` leaves on objects: as large as they are, and nobody here reads it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the controller of a kind follows, and who calls on it.
pub struct Source<V: Reconciled> {
    pub api: Api<DeserializeGuard<V::Object>>,
    /// Fills its part of the cache.
    pub writer: Writer<V::Object>,
    /// What is to be reconciled because another object changed.
    pub triggered: Receiver<V::Object>,
}

/// Reconciles the objects of a kind until shutdown.
pub async fn run<V: Reconciled>(source: Source<V>, context: Arc<Context>, handles: Handles) {
    let Source {
        api,
        writer,
        mut triggered,
    } = source;
    let reader = writer.as_reader();
    let objects = objects::<V>(api, writer, context.clone(), &handles);
    let shutdown = handles.shutdown.clone();

    Controller::for_stream(objects, reader)
        .reconcile_on(poll_fn(move |cx| triggered.poll_recv(cx)))
        .with_config(
            Config::default()
                .debounce(DEBOUNCE)
                .concurrency(CONCURRENCY),
        )
        .graceful_shutdown_on(async move { shutdown.stopping().await })
        .run(
            |object, context| async { catch_panic(reconcile::<V>(object, context)).await? },
            after_error::<V>,
            context,
        )
        .for_each(|reconciled| {
            match reconciled {
                Ok((object, next)) => debug!(%object, ?next, "Reconciled"),
                Err(Error::QueueError(error)) => {
                    let error = chain(&error);
                    warn!(kind = V::KIND.word(), error, "Failed to watch");
                }
                // Said where it happened; the rest is an object that is gone already.
                Err(error) => debug!(%error, "Did not reconcile"),
            }
            std::future::ready(())
        })
        .await;
}

/// The objects of a kind as they change, each in the cache already.
fn objects<V: Reconciled>(
    api: Api<DeserializeGuard<V::Object>>,
    writer: Writer<V::Object>,
    context: Arc<Context>,
    handles: &Handles,
) -> impl Stream<Item = Result<V::Object, watcher::Error>> + Send + 'static {
    let (reader, cached) = (writer.as_reader(), context.clone());
    let listed = handles
        .readiness
        .part(format!("list of {}", V::Object::plural(&())));

    watcher(api, watcher::Config::default())
        .filter_map(move |event| {
            let event = event.map(|event| readable(V::KIND, event, &reader, &context));
            std::future::ready(event.transpose())
        })
        .modify(|object| {
            object.managed_fields_mut().clear();
            // None stay none: patches distinguish them from empty ones.
            if let Some(annotations) = &mut object.meta_mut().annotations {
                annotations.remove(LAST_APPLIED);
            }
        })
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(event) = event {
                changed::<V>(event, &cached);
                if matches!(event, Event::InitDone) {
                    listed.set(true);
                }
            }
        })
        .applied_objects()
}

/// The cache was given this: who else is concerned is reconciled.
fn changed<V: Reconciled>(event: &Event<V::Object>, context: &Context) {
    let Context {
        cache, triggers, ..
    } = context;

    V::index(cache).update(event);
    match event {
        Event::Apply(object) => V::changed(object, cache, triggers),
        Event::Delete(object) => {
            context.forget(object);
            V::gone(object, cache, triggers);
        }
        // What went while nobody followed is in no event.
        Event::InitDone => triggers.all(cache),
        Event::InitApply(object) => context.behind.forget(&object.uuid()),
        Event::Init => {}
    }
}

/// An event of an object that can be read. One that cannot holds up no other: its status says so, and
/// what was read of it before is forgotten, since nobody may act by it.
fn readable<K: Resource<DynamicType = ()> + Clone>(
    kind: Kind,
    event: Event<DeserializeGuard<K>>,
    known: &Store<K>,
    context: &Context,
) -> Option<Event<K>> {
    let read = match event {
        Event::Apply(object) => object.0.map(Event::Apply),
        Event::InitApply(object) => object.0.map(Event::InitApply),
        Event::Delete(object) => object.0.map(Event::Delete),
        Event::Init => Ok(Event::Init),
        Event::InitDone => Ok(Event::InitDone),
    };
    read.map(Some).unwrap_or_else(|invalid| {
        let found = Unreadable::new(kind, invalid);
        let at = ObjectRef::new(&found.target.name).within(&found.target.namespace);
        warn!(kind = kind.word(), object = %at, "Failed to read an object");
        context.unreadable.add(found);
        known
            .get(&at)
            .map(|old| Event::Delete(old.as_ref().clone()))
    })
}
