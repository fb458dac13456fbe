//! The parts of the service, put together.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::controller::{Action as Next, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{applier, controller};
use kube::{Client, Resource};
use sequencer_api::provider;
use sequencer_proto::topics::{Consumer, Kind};
use sequencer_runtime::bus::{Bus, Keep};
use sequencer_runtime::{Handles, Runtime};
use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::args::Args;
use crate::error::Error;
use crate::leader::Candidate;
use crate::pace::Pace;
use crate::reconcile::{self, Context};
use crate::tell::Teller;
use crate::unreadable;
use crate::wakes::{Rhythms, Wakes};
use crate::workspace::{Chart, Limits};
use crate::world::{Follow, Lookouts, World, Writers, everywhere};

/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How many objects of a kind are looked at at once.
const AT_ONCE: u16 = 16;

/// The settings cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is no such file.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// It is no list of providers.
    #[error("{0} is no list of DNS providers")]
    Providers(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the chart says about hosts.
///
/// # Errors
/// The providers cannot be read.
pub fn chart(args: &Args) -> Result<Chart, SettingsError> {
    let providers = match &args.dns_providers {
        None => Vec::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| SettingsError::Read(file.clone(), error))?;
            provider::parse(&text).map_err(|error| SettingsError::Providers(file.clone(), error.into()))?
        }
    };
    Ok(Chart {
        cluster: args.cluster_id.clone(),
        namespace: args.namespace.clone(),
        providers,
        dns_ttl: args.dns_ttl,
        tunnel_scheme: args.tunnel_url_scheme.clone(),
        ingress_tls: args.ingress_tls,
        abandon_after: args.resync,
        limits: Limits {
            ttl: args.workspace_ttl,
            max_ttl: args.max_ttl,
            workspaces: args.workspaces_per_namespace,
            builds: args.builds_per_namespace,
        },
    })
}

/// Starts every part.
///
/// # Errors
/// The settings cannot be used.
pub fn spawn(rt: &mut Runtime, bus: &Bus, client: &Client, args: &Args) -> Result<(), SettingsError> {
    let (world, writers, lookouts) = World::new(&args.namespace);
    let periods = &args.shared.periods;
    let context = Arc::new(Context {
        client: client.clone(),
        world: world.clone(),
        wakes: Wakes::new(bus.clone(), Rhythms { resync: args.resync, secret: periods.secret_retry }),
        teller: Teller::new(client.clone(), &args.shared.pod),
        pace: Pace::new(args.first_write, args.quiet),
        chart: chart(args)?,
        pools: args.pools.clone(),
    });
    let candidate = Candidate::new(client.clone(), &args.namespace, &args.shared.pod, rt.handles());
    let (decides, deciding) = watch::channel(false);
    rt.spawn("stand for election", candidate.stand(decides));
    keep(rt, bus, &context, args);
    follow(rt, client, &context, args, writers);
    look(rt, &context, &deciding, lookouts);
    Ok(())
}

/// Streams and consumers; whatever they lost is woken again.
fn keep(rt: &mut Runtime, bus: &Bus, context: &Arc<Context>, args: &Args) {
    let keep = Keep {
        consumers: Consumer::all(&args.pools),
        ack_wait: args.shared.periods.ack_wait,
        every: args.resync.min(KEEP),
    };
    let (bus, context) = (bus.clone(), context.clone());
    rt.spawn("keep", async move {
        let made = || {
            context.wakes.forget_all();
            context.world.look_at_all();
        };
        bus.keep(keep, made).await;
    });
}

/// How often streams and consumers are looked at.
const KEEP: Duration = Duration::from_secs(5);

fn follow(rt: &mut Runtime, client: &Client, context: &Arc<Context>, args: &Args, writers: Writers) {
    macro_rules! follow {
        ($task:literal, $writer:expr, $changed:ident, $gone:ident, $kind:expr, $namespace:expr) => {{
            let (handles, context) = (rt.handles(), context.clone());
            let follow = Follow { api: everywhere(client, $namespace), kind: $kind, resync: args.resync, handles };
            rt.spawn($task, async move {
                let changed = |object: &_| context.world.$changed(object);
                let gone = |object: &_| {
                    let uid = uid(object);
                    context.wakes.forget(uid);
                    context.pace.forget(uid);
                    context.world.$gone(object);
                };
                follow.run($writer, &context.world, changed, gone).await;
            });
        }};
    }
    follow!("follow workspaces", writers.workspaces, on_workspace, without_workspace, Kind::Workspace, None);
    follow!("follow components", writers.components, on_component, on_component, Kind::Component, None);
    follow!("follow builds", writers.builds, on_build, on_build, Kind::Build, None);
    follow!("follow records", writers.records, on_record, on_record, Kind::DnsRecord, Some(args.namespace.as_str()));
}

fn uid<K: Resource>(object: &K) -> Uuid {
    object.meta().uid.as_deref().and_then(|uid| Uuid::try_parse(uid).ok()).unwrap_or_default()
}

fn look(rt: &mut Runtime, context: &Arc<Context>, deciding: &watch::Receiver<bool>, lookouts: Lookouts) {
    let world = context.world.clone();
    let turn = || Turn { handles: rt.handles(), deciding: deciding.clone() };
    let [first, second, third, fourth] = [turn(), turn(), turn(), turn()];
    let ctx = || context.clone();
    rt.spawn("answer unreadable objects", answer(turn(), ctx()));
    rt.spawn("look at workspaces", run(first, ctx(), world.workspaces, lookouts.workspaces, reconcile::workspace));
    rt.spawn("look at components", run(second, ctx(), world.components, lookouts.components, reconcile::component));
    rt.spawn("look at builds", run(third, ctx(), world.builds, lookouts.builds, reconcile::build));
    rt.spawn("look at records", run(fourth, ctx(), world.records, lookouts.records, reconcile::record));
}

/// When this process may look: everything is known, it was elected, and it is not about to end.
struct Turn {
    handles: Handles,
    deciding: watch::Receiver<bool>,
}

impl Turn {
    /// Waits for it, and forgets what is queued meanwhile; false if the process ends first.
    async fn comes<T>(&mut self, world: &World, queue: &mut UnboundedReceiver<T>) -> bool {
        let mut comes = std::pin::pin!(decides(&mut self.deciding, world));
        loop {
            tokio::select! {
                biased;
                () = self.handles.shutdown.stopping() => return false,
                came = &mut comes => return came,
                _ = queue.recv() => {}
            }
        }
    }
}

async fn decides(deciding: &mut watch::Receiver<bool>, world: &World) -> bool {
    world.known().await;
    deciding.wait_for(|decides| *decides).await.is_ok()
}

/// Says on objects that cannot be read that they cannot, again with each resync.
async fn answer(mut turn: Turn, context: Arc<Context>) {
    let answers = async {
        if !decides(&mut turn.deciding, &context.world).await {
            return;
        }
        loop {
            for found in context.world.unreadable.some().await {
                if let Err(error) = unreadable::answer(&context.client, &context.teller, &found).await {
                    let cause = std::error::Error::source(&error).map(tracing::field::display);
                    warn!(name = found.target.name, %error, cause, "cannot say that an object is unreadable");
                }
            }
        }
    };
    tokio::select! {
        () = turn.handles.shutdown.stopping() => {}
        () = answers => {}
    }
}

/// Looks at whatever is queued, once everything is known, until shutdown.
async fn run<K, F>(
    mut turn: Turn,
    context: Arc<Context>,
    store: Store<K>,
    mut queue: UnboundedReceiver<ObjectRef<K>>,
    look: impl FnMut(Arc<K>, Arc<Context>) -> F + Send,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    F: Future<Output = Result<Next, Error>> + Send + 'static,
{
    if !turn.comes(&context.world, &mut queue).await {
        return;
    }
    context.world.look_at_all();
    let shutdown = turn.handles.shutdown;
    let queue = futures_util::stream::poll_fn(move |cx| queue.poll_recv(cx));
    let queue = queue.take_until(async move { shutdown.stopping().await }).map(Ok::<_, Infallible>);
    let mut look = look;
    let config = Config::default().debounce(TOGETHER).concurrency(AT_ONCE);
    let looks = applier(
        move |object, context| Box::pin(look(object, context)),
        reconcile::after_error,
        context,
        store,
        queue.map(|queued| queued.map(controller::ReconcileRequest::from)),
        config,
    );
    looks
        .for_each(|looked| {
            match looked {
                Ok((object, next)) => debug!(%object, ?next, "looked"),
                // Said where it happened; the rest is an object that is gone already.
                Err(error) => debug!(%error, "not looked"),
            }
            std::future::ready(())
        })
        .await;
}
