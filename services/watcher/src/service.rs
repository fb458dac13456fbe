//! The parts of the service, put together.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client};
use sequencer_proto::topics::Consumer;
use sequencer_runtime::bus::{Bus, Keep};
use sequencer_runtime::error::chain;
use sequencer_runtime::hosts::ProvidersError;
use sequencer_runtime::status_writer::{DERIVED_PROGRESS, StatusWriter};
use sequencer_runtime::{Handles, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use crate::args::Args;
use crate::build::BuildView;
use crate::cache::Cache;
use crate::chart::Chart;
use crate::component::ComponentView;
use crate::controllers::{self, Source};
use crate::events::Recorder;
use crate::leader::Candidate;
use crate::notifier::{Notifier, Periods};
use crate::reconcile::{Behind, Context};
use crate::record::RecordView;
use crate::triggers::Triggers;
use crate::unreadable::{self, Unreadables};
use crate::workspace::WorkspaceView;

/// How often streams and consumers are checked.
const KEEP: Duration = Duration::from_secs(5);

/// The wait after the status of an unreadable object could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Starts every part.
///
/// # Errors
/// The settings cannot be used.
pub fn spawn(
    rt: &mut Runtime,
    bus: &Bus,
    client: &Client,
    args: &Args,
) -> Result<(), ProvidersError> {
    let watcher = Watcher {
        client: client.clone(),
        bus: bus.clone(),
        args: args.clone(),
        chart: Arc::new(Chart::try_from(args)?),
        handles: rt.handles(),
    };

    let (leads, leading) = watch::channel(false);
    let (namespace, pod) = (&args.hosts.namespace, &args.shared.pod);
    let candidate = Candidate::new(client.clone(), namespace, pod, rt.handles());
    rt.spawn("stand for election", candidate.stand(leads));
    rt.spawn("lead", watcher.run(leading));
    Ok(())
}

struct Watcher {
    client: Client,
    bus: Bus,
    args: Args,
    chart: Arc<Chart>,
    handles: Handles,
}

impl Watcher {
    /// Leads whenever it is elected, until shutdown.
    async fn run(self, mut leading: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.handles.shutdown.stopping() => return,
                // It fails if the election is over, and so is the process.
                elected = leading.wait_for(|leads| *leads) => if elected.is_err() { return },
            }
            tokio::select! {
                () = Box::pin(self.lead()) => return,
                Ok(_) = leading.wait_for(|leads| !*leads) => {}
            }
        }
    }

    /// Does what one watcher alone does, until shutdown. It begins with an empty cache: what another
    /// one did meanwhile is listed anew.
    async fn lead(&self) {
        let Self {
            client,
            bus,
            args,
            handles,
            ..
        } = self;
        let namespace = &args.hosts.namespace;
        let (cache, writers) = Cache::new(namespace, &args.hosts.cluster_id);
        let (triggers, triggered) = Triggers::new();
        let periods = Periods {
            resync: args.resync,
            secret: args.shared.periods.secret_retry,
        };

        let context = Arc::new(Context {
            client: client.clone(),
            cache,
            triggers,
            unreadable: Unreadables::default(),
            notifier: Notifier::new(periods),
            events: Recorder::new(client.clone(), &args.shared.pod),
            statuses: StatusWriter::new(DERIVED_PROGRESS),
            behind: Behind::default(),
            chart: self.chart.clone(),
        });

        let workspaces = Source::<WorkspaceView> {
            api: Api::all(client.clone()),
            writer: writers.workspaces,
            triggered: triggered.workspaces,
        };

        let components = Source::<ComponentView> {
            api: Api::all(client.clone()),
            writer: writers.components,
            triggered: triggered.components,
        };

        let builds = Source::<BuildView> {
            api: Api::all(client.clone()),
            writer: writers.builds,
            triggered: triggered.builds,
        };

        let records = Source::<RecordView> {
            api: Api::namespaced(client.clone(), namespace),
            writer: writers.records,
            triggered: triggered.records,
        };

        tokio::join!(
            controllers::run(workspaces, context.clone(), handles.clone()),
            controllers::run(components, context.clone(), handles.clone()),
            controllers::run(builds, context.clone(), handles.clone()),
            controllers::run(records, context.clone(), handles.clone()),
            self.keep(&context),
            handles.shutdown.until_stopping(context.notifier.run(bus)),
            handles.shutdown.until_stopping(answer_all(&context)),
        );
    }

    /// Streams and consumers; whatever they lost is published again.
    async fn keep(&self, context: &Context) {
        let keep = Keep {
            consumers: Consumer::all(self.args.pools.iter().map(|open| &open.pool)),
            ack_wait: self.args.shared.periods.ack_wait,
            every: self.args.resync.min(KEEP),
        };

        let made = || {
            context.notifier.forget_all();
            context.triggers.all(&context.cache);
        };

        self.bus.keep(keep, made).await;
    }
}

/// Says on objects that cannot be read that they cannot, for ever.
async fn answer_all(context: &Context) {
    let Context {
        client,
        events,
        unreadable,
        ..
    } = context;
    loop {
        let mut failed = Vec::new();

        for found in unreadable.some().await {
            if let Err(error) = unreadable::answer(client, events, &found).await {
                let (name, error) = (&found.target.name, chain(&error));
                warn!(name, error, "Failed to report unreadable object");
                failed.push(found);
            }
        }

        if !failed.is_empty() {
            sleep(RETRY).await;
            failed.into_iter().for_each(|found| unreadable.add(found));
        }
    }
}
