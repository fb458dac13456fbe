//! What is known of a Component, found out once.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use sequencer_api::dependencies::{siblings, unmet};
use sequencer_api::host::Refusal;
use sequencer_api::inputs::Surroundings;
use sequencer_api::status::State;
use sequencer_api::status::component::{ComponentStatus, WaitingFor};
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component};
use sequencer_proto::topics::{Kind, Pool};

use super::builds;
use crate::chart::Chart;
use crate::owned::Owned;
use crate::plan::Subject;
use crate::pools;
use crate::retry::Retry;

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
    /// What it takes from elsewhere, as a hash.
    pub(super) inputs: Option<String>,
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
        let workspace = owned.workspace.as_deref().map(Resource::meta);
        let retry = Retry::of(component.as_ref(), &[workspace]);
        let owner = owned.owner_uid(&component);
        let subject = Subject::of(Kind::Component, component.as_ref(), owner, retry, now);

        let before = component.status.clone().unwrap_or_default();
        let siblings = siblings(owned.current().map(AsRef::as_ref));
        let desired = builds::desired(&component, &owned);
        let deploy = &before.deploy;
        let started = deploy.section.observed_generation == Some(subject.generation)
            && deploy.section.state != Some(State::Waiting)
            && deploy.revision.is_some();

        let inputs = surroundings(&component, &owned).inputs();

        Self {
            inputs,
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

    /// Whether what was deployed was made of what it takes from elsewhere now.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.before.deploy.inputs == self.inputs
    }

    /// Another component of the same Workspace.
    pub(super) fn sibling(&self, name: &str) -> Option<Self> {
        let named = |sibling: &&Arc<Component>| sibling.spec.template.name == name;
        let sibling = self.owned.current().find(named)?.clone();
        let (owned, now) = (self.owned.clone(), self.subject.now);
        Some(Self::new(sibling, owned, &self.chart, now))
    }
}

fn surroundings<'a>(component: &'a Component, owned: &'a Owned) -> Surroundings<'a> {
    let siblings = owned.current().map(AsRef::as_ref);
    let others =
        siblings.filter(|sibling: &&Component| sibling.metadata.uid != component.metadata.uid);

    Surroundings {
        component,
        workspace: owned.workspace.as_deref(),
        siblings: others.collect(),
        builds: owned.builds.iter().map(AsRef::as_ref).collect(),
    }
}

fn pool(component: &Component, chart: &Chart) -> Option<Result<Pool, Refusal>> {
    let pool = &component.spec.template.build.as_ref()?.runtime.pool;
    let namespace = component.namespace_str();
    Some(pools::open(&chart.pools, pool, namespace))
}
