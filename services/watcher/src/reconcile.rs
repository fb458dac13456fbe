//! An object in, a plan carried out: writes, status, wake-ups, Events. What is decided is the kinds' own; this is the same
//! for all.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use kube::runtime::controller::Action as Next;
use kube::{Client, Resource, ResourceExt as _};
use sequencer_api::{Build, Component, DNSRecord, Workspace, labels};
use sequencer_proto::topics::{Kind, Pool};
use sequencer_runtime::cluster::RecordError;
use sequencer_runtime::telemetry::{join_workspace, root_span};
use serde::Serialize;
use tracing::{Instrument as _, info_span, warn};

use crate::error::Error;
use crate::pace::{Derived, Pace, Writing};
use crate::plan::{Plan, Target};
use crate::tell::{Teller, transitions};
use crate::wakes::Wakes;
use crate::workspace::Chart;
use crate::world::World;
use crate::{apply, build, component, record, workspace};

/// The wait after something failed.
const AGAIN: Duration = Duration::from_secs(5);

/// The wait after what was read proved old: its event is on its way.
const STALE: Duration = Duration::from_millis(500);

/// What every look needs.
pub struct Context {
    /// Writes.
    pub client: Client,
    /// Knows.
    pub world: World,
    /// Wakes.
    pub wakes: Wakes,
    /// Tells.
    pub teller: Teller,
    /// When statuses are written.
    pub pace: Pace,
    /// The chart's word on hosts.
    pub chart: Chart,
    /// The pools of builders.
    pub pools: Vec<Pool>,
}

/// Looks at a Workspace.
///
/// # Errors
/// See [`Error`].
pub async fn workspace(object: Arc<Workspace>, context: Arc<Context>) -> Result<Next, Error> {
    let now = Timestamp::now();
    let family = context.world.family_of(object.metadata.uid.as_deref(), None);
    let taken = |name: &str| context.world.record(name);
    let plan = workspace::plan(&object, &family, &context.chart, &taken, now);
    let after = workspace::status(&object, &family, &context.chart, &taken, now);
    let before = object.status.clone().unwrap_or_default();
    let events = workspace::news(&object, &family, &context.chart.limits, &before, &after);
    let first = before.url.is_none() && events.iter().any(|told| told.reason == "Ready");
    let status = Status { patience: Duration::ZERO, watched: &[], before: &before, after: &after, events };
    let next = context.carry_out(Kind::Workspace, object.as_ref(), plan, status, now).await?;
    if first && let Some(created) = object.creation_timestamp() {
        root_span("workspace", crate::family::root(object.as_ref()), SystemTime::from(created.0), Vec::new());
    }
    Ok(next)
}

/// Looks at a Component.
///
/// # Errors
/// See [`Error`].
pub async fn component(object: Arc<Component>, context: Arc<Context>) -> Result<Next, Error> {
    let now = Timestamp::now();
    let family = context.world.family(object.as_ref());
    let plan = component::plan(&object, &family, &context.pools, now);
    let after = component::status(&object, &family, &context.pools, now);
    let before = object.status.clone().unwrap_or_default();
    let events = component::news(&object, &family, &before, &after);
    let watched = component::watched(&object, &family);
    // Where there is no more to say than that it starts, its Workspace says it for all of them.
    let patience = if component::has_news(&object) { context.pace.first } else { context.pace.quiet };
    let status = Status { patience, watched: &watched, before: &before, after: &after, events };
    context.carry_out(Kind::Component, object.as_ref(), plan, status, now).await
}

/// Looks at a Build.
///
/// # Errors
/// See [`Error`].
pub async fn build(object: Arc<Build>, context: Arc<Context>) -> Result<Next, Error> {
    let now = Timestamp::now();
    let others = context.world.unbuilt(object.namespace().as_deref());
    let held = build::waits_for_its_turn(&object, &others, context.chart.limits.builds, now);
    let plan = build::plan(&object, &context.pools, held, now);
    let after = build::status(&object, &context.pools, held, now);
    let before = object.status.clone().unwrap_or_default();
    let alone = object.owner_references().is_empty();
    let events = transitions(&Target::of(Kind::Build, object.as_ref()), &before.conditions, &after.conditions, alone);
    // What goes on is told by its Component, if it has one.
    let patience = if alone { context.pace.first } else { context.pace.quiet };
    let status = Status { patience, watched: &[], before: &before, after: &after, events };
    context.carry_out(Kind::Build, object.as_ref(), plan, status, now).await
}

/// Looks at a DNSRecord.
///
/// # Errors
/// See [`Error`].
pub async fn record(object: Arc<DNSRecord>, context: Arc<Context>) -> Result<Next, Error> {
    let now = Timestamp::now();
    let orphan = context.is_orphan(&object).await?;
    let family = context.world.family(object.as_ref());
    let abandon = family.abandon(context.chart.abandon_after, now);
    let plan = record::plan(&object, &family, orphan, abandon, now);
    let after = record::status(&object, &context.chart.providers, now);
    let before = object.status.clone().unwrap_or_default();
    let events =
        transitions(&Target::of(Kind::DnsRecord, object.as_ref()), &before.conditions, &after.conditions, false);
    let patience = context.pace.first;
    let status = Status { patience, watched: &[], before: &before, after: &after, events };
    context.carry_out(Kind::DnsRecord, object.as_ref(), plan, status, now).await
}

/// When to look again after an error.
#[expect(clippy::needless_pass_by_value, reason = "it is called so")]
pub fn after_error<K: Resource>(object: Arc<K>, error: &Error, _context: Arc<Context>) -> Next {
    if error.is_stale() {
        return Next::requeue(STALE);
    }
    let cause = std::error::Error::source(error);
    warn!(name = object.name_any(), namespace = object.namespace(), %error, cause = cause.map(tracing::field::display), "looks again soon");
    Next::requeue(AGAIN)
}

/// A status before and after.
struct Status<'a, S> {
    patience: Duration,
    watched: &'a [&'a str],
    before: &'a S,
    after: &'a S,
    events: Vec<crate::plan::Told>,
}

impl Context {
    /// Whether a record's Workspace is gone: the reflector may be late, so the API server is asked (a quorum read).
    async fn is_orphan(&self, record: &DNSRecord) -> Result<bool, Error> {
        let labels = record.labels();
        let (Some(uid), Some(namespace), Some(name)) =
            (labels.get(labels::WORKSPACE_UID), labels.get(labels::WORKSPACE_NAMESPACE), labels.get(labels::WORKSPACE))
        else {
            return Ok(false);
        };
        if self.world.workspaces.find(|found| found.metadata.uid.as_ref() == Some(uid)).is_some() {
            return Ok(false);
        }
        let api = kube::Api::<Workspace>::namespaced(self.client.clone(), namespace);
        let found = sequencer_runtime::cluster::current(&api, name, uid).await;
        found.map(|found| found.is_none()).map_err(|error| Error::Read(format!("Workspace {namespace}/{name}"), error))
    }

    async fn carry_out<K: Resource, S: Serialize + Sync>(
        &self,
        kind: Kind,
        object: &K,
        mut plan: Plan,
        status: Status<'_, S>,
        now: Timestamp,
    ) -> Result<Next, Error> {
        let target = Target::of(kind, object);
        if !plan.actions.is_empty() {
            let span = info_span!("apply", kind = kind.word(), namespace = target.namespace, name = target.name);
            join_workspace(&span, crate::family::root(object));
            let apply = async {
                for action in &plan.actions {
                    apply::apply(&self.client, action).await?;
                }
                Ok::<_, Error>(())
            };
            apply.instrument(span).await?;
        }
        let wrote = self.write(&target, object, &status, &mut plan, now).await?;
        for wake in &plan.wakes {
            if let Some(next) = self.wakes.send(wake, now).await {
                plan.next = Some(plan.next.map_or(next, |before| before.min(next)));
            }
        }
        let news = status.events.iter().filter(|_| wrote);
        for told in plan.events.iter().chain(news) {
            self.teller.tell(told).await;
        }
        Ok(next(plan.next, now))
    }

    /// Writes a status, if it is time, and says whether it did.
    async fn write<K: Resource, S: Serialize>(
        &self,
        target: &Target,
        object: &K,
        status: &Status<'_, S>,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let derived = Derived {
            uid: &target.uid,
            created: object.creation_timestamp().map_or(now, |created| created.0),
            patience: status.patience,
            watched: status.watched,
            before: serde_json::to_value(status.before)?,
            after: serde_json::to_value(status.after)?,
        };
        match self.pace.judge(&derived, now)? {
            Writing::Nothing => Ok(false),
            Writing::Later(when) => {
                plan.again_at(when);
                Ok(false)
            }
            Writing::Now(patch) => {
                let Target { kind, namespace, name, .. } = target;
                let span = info_span!("record", kind = kind.word(), namespace, name);
                join_workspace(&span, crate::family::root(object));
                let api = apply::api(&self.client, *kind, namespace);
                match patch.apply(&api, name).instrument(span).await {
                    // Its last finalizer was just taken away; that is told all the same.
                    Err(RecordError::Gone) => return Ok(false),
                    written => written?,
                };
                self.pace.wrote(target.uuid(), now);
                Ok(true)
            }
        }
    }
}

fn next(at: Option<Timestamp>, now: Timestamp) -> Next {
    let wait = at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    // A moment later than the moment: never just before it.
    wait.map_or_else(Next::await_change, |wait| Next::requeue(wait + Duration::from_millis(10)))
}
