//! One object reconciled: observed, planned, the plan applied, its status recorded. What is
//! observed and decided is each kind's own; this is the same for all.

mod apply;
mod behind;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action as Next;
use kube::{Client, Resource, ResourceExt as _};
use sequencer_api::condition::ConditionType;
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::Kind;
use sequencer_runtime::error::chain;
use sequencer_runtime::section::RecordError;
use sequencer_runtime::status_writer::{Decision, StatusWriter};
use sequencer_runtime::telemetry::join_workspace;
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::cache::{Cache, Index};
use crate::chart::Chart;
use crate::conditions::stalls_at;
use crate::denied::Write;
use crate::error::Error;
use crate::events::Recorder;
use crate::notifier::Notifier;
use crate::plan::{Event, Plan, Subject};
use crate::status_change::{Status, StatusChange};
use crate::triggers::Triggers;
use crate::unreadable::Unreadables;

pub use behind::Behind;

/// The wait after something failed.
const AGAIN: Duration = Duration::from_secs(5);

/// The wait after what was read proved old: its event is on its way.
const STALE: Duration = Duration::from_millis(500);

/// What every reconcile needs.
pub struct Context {
    pub client: Client,
    pub cache: Cache,
    /// Who else is reconciled.
    pub triggers: Triggers,
    /// What there is and cannot be read.
    pub unreadable: Unreadables,
    pub notifier: Notifier,
    pub events: Recorder,
    /// When statuses are written.
    pub statuses: StatusWriter<Uuid>,
    /// Where the cache is behind what was written.
    pub behind: Behind,
    /// What the operator decided.
    pub chart: Arc<Chart>,
}

/// What is known of an object of one kind: its plan and its status follow from it alone.
pub trait Reconciled: Send + Sync + Sized + 'static {
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// The watcher's part of its status, with the sections of others as they were read.
    type Status: Status + Send + Sync;
    const KIND: Kind;

    /// Its objects in the cache.
    fn index(cache: &Cache) -> &Index<Self::Object>;

    /// Has others reconciled because one changed.
    fn changed(object: &Self::Object, cache: &Cache, triggers: &Triggers);

    /// Has others reconciled because one is gone.
    fn gone(object: &Self::Object, cache: &Cache, triggers: &Triggers) {
        Self::changed(object, cache, triggers);
    }

    /// Finds out, once, what is known of an object. None: nothing can be decided yet, and what is
    /// missing has it reconciled again.
    ///
    /// # Errors
    /// The API server had to be asked, and did not answer.
    fn observe(
        object: Arc<Self::Object>,
        context: &Context,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Self>, Error>> + Send;

    /// The object in short.
    fn subject(&self) -> &Subject;

    /// The status as it was read.
    fn before(&self) -> &Self::Status;

    /// What is to be done.
    fn plan(&self) -> Plan;

    /// The status as it has to be.
    fn status(&self) -> Self::Status;

    /// The Events to publish once the status is written.
    fn events(&self, after: &Self::Status) -> Vec<Event>;

    /// The conditions besides `Ready` that others wait for.
    fn depended_on(&self) -> Vec<ConditionType> {
        Vec::new()
    }

    /// Whether it waits for something slow: what it says then is written at once.
    fn waits(&self) -> bool {
        false
    }

    /// The status was written, and leads to these events.
    fn recorded(&self, _events: &[Event]) {}
}

/// Reconciles an object. Neither a failed write nor a message that is lost keeps its status from
/// being written.
///
/// # Errors
/// See [`Error`].
pub async fn reconcile<V: Reconciled>(
    object: Arc<V::Object>,
    context: Arc<Context>,
) -> Result<Next, Error> {
    context.cache.ready().await;
    if context.behind.is_behind(object.as_ref()) {
        return Ok(Next::await_change());
    }

    let now = Timestamp::now();
    let Some(mut view) = V::observe(object.clone(), &context, now).await? else {
        return Ok(Next::await_change());
    };

    let mut plan = view.plan();
    if let Some(at) = next_stall(view.before(), now) {
        plan.again_at(at);
    }

    let denials = || context.cache.denials.of(object.uuid());
    let before = denials();
    let applied = context.apply(view.subject(), &mut plan).await;
    if denials() != before {
        // What was just refused, or is not refused any more, is known now.
        view = V::observe(object.clone(), &context, now)
            .await?
            .unwrap_or(view);
    }

    let after = view.status();
    let recorded = context.record(&view, &after, &mut plan).await;
    if let Ok(Some(written)) = &recorded {
        context.behind.wrote(object.as_ref(), written);
    }

    for notification in std::mem::take(&mut plan.notifications) {
        if let Some(at) = context.notifier.send(&notification, now) {
            plan.again_at(at);
        }
    }

    let mut events = std::mem::take(&mut plan.events);

    if matches!(recorded, Ok(Some(_))) {
        let transitions = view.events(&after);
        view.recorded(&transitions);
        events.extend(transitions);
    }

    for event in &events {
        context.events.publish(event).await;
    }

    applied?;
    recorded?;
    Ok(next(plan.next, now))
}

/// When the next of those things that go wrong has lasted so long that the status says so.
fn next_stall(status: &impl Status, now: Timestamp) -> Option<Timestamp> {
    let sections = status.sections().into_iter();
    sections
        .filter_map(|(_, section)| stalls_at(section, status.failure()))
        .filter(|at| *at > now)
        .min()
}

/// When to reconcile again after an error.
#[expect(clippy::needless_pass_by_value, reason = "it is called so")]
pub fn after_error<V: Reconciled>(
    object: Arc<V::Object>,
    error: &Error,
    _context: Arc<Context>,
) -> Next {
    if error.is_gone() {
        return Next::await_change();
    }

    if error.is_stale() {
        return Next::requeue(STALE);
    }

    warn!(
        kind = V::KIND.word(),
        name = object.name_any(),
        namespace = object.namespace(),
        error = chain(error),
        "Failed to reconcile"
    );
    Next::requeue(AGAIN)
}

impl Context {
    /// An object is gone.
    pub fn forget<K: Resource>(&self, object: &K) {
        let uid = object.uuid();
        self.notifier.forget(uid);
        self.statuses.forget(&uid);
        self.behind.forget(&uid);
        self.cache.denials.forget(uid);
    }

    /// Writes a status, if it is time, and returns the object as it is then.
    async fn record<V: Reconciled>(
        &self,
        view: &V,
        after: &V::Status,
        plan: &mut Plan,
    ) -> Result<Option<DynamicObject>, Error> {
        let subject = view.subject();
        let (target, now) = (&subject.target, subject.now);
        let depended_on = view.depended_on();
        let change =
            StatusChange::new(view.before(), after, &depended_on).while_waiting(view.waits());

        let uid = target.uuid();
        match self.statuses.decide(uid, change.difference(), now) {
            Decision::Nothing => return Ok(None),
            Decision::Later(when) => {
                plan.again_at(when);
                return Ok(None);
            }
            Decision::Now => {}
        }

        let denied = self.cache.denials.of_status(uid);
        if let Some(denied) = denied.filter(|denied| denied.holds_back(subject, Write::Status)) {
            plan.again_at(denied.again_at(now));
            return Ok(None);
        }

        let span = info_span!(
            "record",
            kind = target.kind.word(),
            namespace = target.namespace,
            name = target.name
        );
        join_workspace(&span, subject.owner);
        let api = crate::apply::api(&self.client, target.kind, &target.namespace);
        let patch = change.patch(&target.uid)?;
        let written = match patch.apply(&api, &target.name).instrument(span).await {
            // Its last finalizer was just taken away; that is reported all the same.
            Err(RecordError::Gone) => return Ok(None),
            Err(RecordError::Invalid(words)) => {
                let denied = self.status_denied(subject, words).await;
                plan.again_at(denied.again_at(now));
                return Ok(None);
            }
            written => written?,
        };

        self.statuses.wrote(uid, now);
        self.cache.denials.clear_status(uid);
        Ok(Some(written))
    }
}

fn next(at: Option<Timestamp>, now: Timestamp) -> Next {
    let wait = at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    // A moment later than the moment: never just before it.
    wait.map_or_else(Next::await_change, |wait| {
        Next::requeue(wait + Duration::from_millis(10))
    })
}
