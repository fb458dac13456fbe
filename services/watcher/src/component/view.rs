//! What is known of a Component, found out once.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use sequencer_api::condition::{ConditionType, Summary};
use sequencer_api::dependencies::{siblings, unmet};
use sequencer_api::host::Refusal;
use sequencer_api::status::State;
use sequencer_api::status::component::{ComponentStatus, WaitingFor};
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component};
use sequencer_proto::topics::{Kind, Pool};

use super::{builds, plan, status};
use crate::cache::{Cache, Index};
use crate::chart::Chart;
use crate::error::Error;
use crate::events::transitions;
use crate::owned::{Owned, retry_word};
use crate::plan::{Event, Plan, Subject, Target};
use crate::pools;
use crate::reconcile::{Context, Reconciled};
use crate::triggers::Triggers;

/// What is known of a Component.
pub struct ComponentView {
    pub(crate) subject: Subject,
    pub(crate) component: Arc<Component>,
    pub(crate) before: ComponentStatus,
    pub(super) owned: Arc<Owned>,
    pub(super) chart: Arc<Chart>,
    /// The pool of its Builds; none if it builds nothing.
    pub(super) pool: Option<Result<Pool, Refusal>>,
    /// The Build of the newest commits, once they are known.
    pub(super) desired: Option<Build>,
    /// The name of the Build that pods can run.
    pub(super) to_run: Option<String>,
    /// The dependencies that do not hold yet.
    pub(super) unmet: Vec<WaitingFor>,
    /// Whether the deployer began with this generation: from then on a dependency that falters
    /// holds nothing back.
    pub(super) started: bool,
}

impl ComponentView {
    /// From what is cached.
    pub fn new(
        component: Arc<Component>,
        owned: Arc<Owned>,
        chart: &Arc<Chart>,
        now: Timestamp,
    ) -> Self {
        // Whoever annotates the Workspace means all of it.
        let above = owned.workspace.as_deref().map_or("", retry_word);
        let retry = format!("{}{above}", retry_word(component.as_ref()));
        let owner = owned.owner_uid(&component);
        let subject = Subject::of(Kind::Component, component.as_ref(), owner, retry, now);

        let before = component.status.clone().unwrap_or_default();
        let siblings = siblings(owned.current().map(AsRef::as_ref));
        let desired = builds::desired(&component, &owned);
        let deploy = &before.deploy;
        let started = deploy.section.observed_generation == Some(subject.generation)
            && deploy.section.state != Some(State::Waiting)
            && deploy.revision.is_some();

        Self {
            pool: pool(&component, chart),
            to_run: builds::to_run(&component, &owned, desired.as_ref()).map(ResourceExt::name_any),
            unmet: unmet(&component.spec.template.depends_on, &siblings),
            chart: chart.clone(),
            subject,
            before,
            desired,
            started,
            component,
            owned,
        }
    }

    /// What `Ready` says.
    pub(crate) fn ready(&self) -> Summary {
        status::ready(self)
    }

    /// The commit that serves, if some version does.
    pub(crate) fn serving(&self) -> Option<&str> {
        status::serving(&self.before)
    }

    /// Whether nothing that it depends on holds it back, its own image included.
    pub(super) fn may_start(&self) -> bool {
        let has_image = self.component.spec.template.build.is_none() || self.to_run.is_some();
        self.unmet.is_empty() && has_image
    }

    /// The Build that pods are still to run instead of an older one of this Component's own. They
    /// may run another's instead.
    pub(super) fn to_roll_out(&self) -> Option<&str> {
        let serving = self.before.deploy.build.as_deref()?;
        let is_own = builds::own(&self.component, &self.owned)
            .any(|build| build.metadata.name.as_deref() == Some(serving));
        let to_run = self.to_run.as_deref().filter(|_| is_own)?;
        (to_run != serving).then_some(to_run)
    }

    /// Another component of the same Workspace.
    pub(super) fn sibling(&self, name: &str) -> Option<Self> {
        let named = |sibling: &&Arc<Component>| sibling.spec.template.name == name;
        let sibling = self.owned.current().find(named)?.clone();
        let (owned, now) = (self.owned.clone(), self.subject.now);
        Some(Self::new(sibling, owned, &self.chart, now))
    }
}

impl Reconciled for ComponentView {
    type Object = Component;
    type Status = ComponentStatus;
    const KIND: Kind = Kind::Component;

    fn index(cache: &Cache) -> &Index<Component> {
        &cache.components
    }

    fn changed(component: &Component, cache: &Cache, triggers: &Triggers) {
        triggers.component(cache, component);
    }

    async fn observe(
        component: Arc<Component>,
        context: &Context,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let owned = context.cache.owned_with(&component).map(Arc::new);
        Ok(owned.map(|owned| Self::new(component, owned, &context.chart, now)))
    }

    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn before(&self) -> &ComponentStatus {
        &self.before
    }

    fn plan(&self) -> Plan {
        plan::plan(self)
    }

    fn status(&self) -> ComponentStatus {
        status::status(self)
    }

    /// What went wrong is an Event of its Workspace as well.
    fn events(&self, after: &ComponentStatus) -> Vec<Event> {
        let workspace = self.owned.workspace.as_deref();
        let mut events = transitions(
            &self.subject.target,
            &self.before.conditions,
            &after.conditions,
            workspace.is_none(),
        );

        let above = workspace.filter(|_| events.iter().any(|event| event.warning));
        // One that waits for a failed one has nothing to add.
        let trouble = above.and_then(|_| status::trouble(self));
        if let Some((workspace, trouble)) = above.zip(trouble) {
            let name = &self.component.spec.template.name;
            let named = Summary {
                message: format!("{name}: {}", trouble.message),
                ..trouble
            };

            let target = Target::of(Kind::Workspace, workspace);
            let code = named.reason.code();
            events.extend(code.map(|code| Event::wrong(&target, code, named.text())));
        }

        events
    }

    /// For an image.
    fn waits(&self) -> bool {
        self.before.deploy.pulling.is_some()
    }

    /// Those that its siblings wait for.
    fn depended_on(&self) -> Vec<ConditionType> {
        let name = &self.component.spec.template.name;
        let siblings = self.owned.components.iter();
        siblings
            .flat_map(|sibling| &sibling.spec.template.depends_on)
            .filter(|dependency| dependency.component_name == *name)
            .map(|dependency| dependency.condition_type)
            .collect()
    }
}

fn pool(component: &Component, chart: &Chart) -> Option<Result<Pool, Refusal>> {
    let pool = &component.spec.template.build.as_ref()?.runtime.pool;
    let namespace = component.namespace_str();
    Some(pools::open(&chart.pools, pool, namespace))
}
