//! What is known of a Workspace, found out once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::condition::{Reason, Severity, Summary};
use sequencer_api::host::{Lock, Refusal};
use sequencer_api::labels::{self, commit12};
use sequencer_api::status::State;
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_api::stored::Stored as _;
use sequencer_api::{Component, DNSRecord, Workspace};
use sequencer_proto::topics::Kind;

use super::children::{self, Child};
use super::dns::{self, Holders, Wanted};
use super::expiry;
use crate::chart::{Chart, Limits};
use crate::owned::Owned;
use crate::plan::Subject;
use crate::retry::Retry;

/// What is known of a Workspace.
pub struct WorkspaceView {
    pub(super) subject: Subject,
    pub(super) workspace: Arc<Workspace>,
    pub(super) before: WorkspaceStatus,
    pub(super) owned: Arc<Owned>,
    pub(super) chart: Arc<Chart>,
    /// What is wrong with it as a whole, beyond what the schema can check: nothing is made or
    /// changed for it.
    pub(super) refusal: Option<Refusal>,
    /// Its Components, in the order of its spec.
    pub(super) children: Vec<Child>,
    /// Whether every one of them is as the spec has it, and ready.
    pub(super) components: Summary,
    /// The commits that serve: one alone, or each with its component's name.
    pub(super) commit: Option<String>,
    /// Who has the names of its records.
    pub(super) holders: Holders,
    /// Whether it may be reached at its hosts, as far as the records are known here.
    pub(super) lock: Lock,
    /// The records that it shall have.
    pub(super) records: Wanted,
    /// The URL, whether or not it answers.
    pub(super) url: Option<String>,
}

impl WorkspaceView {
    /// From what is cached. `holder` knows who has a DNSRecord's name.
    pub fn new(
        workspace: Arc<Workspace>,
        owned: Owned,
        holder: &dyn Fn(&str) -> Option<Arc<DNSRecord>>,
        chart: &Arc<Chart>,
        now: Timestamp,
    ) -> Self {
        let (owner, owned) = (workspace.uuid(), Arc::new(owned));
        let retry = Retry::of(workspace.as_ref(), &[]).outside(Some(&workspace));
        let subject = Subject::of(Kind::Workspace, workspace.as_ref(), owner, retry, now);

        let refusal = refusal(&workspace, &owned, &chart.limits);
        let children = children::children(&workspace, &owned, chart, now);
        let components = match finalizer_denied(&workspace, &owned, now) {
            Some(denied) => denied,
            None => components(refusal.as_ref(), &children),
        };
        let holders = Holders::new(&workspace, &owned, chart, holder);

        Self {
            before: workspace.status.clone().unwrap_or_default(),
            commit: commit(&owned),
            lock: dns::lock(&workspace, chart, &holders),
            records: dns::wanted(&workspace, &owned, chart),
            url: workspace.url(&chart.zones.cluster_id, &chart.schemes),
            chart: chart.clone(),
            subject,
            workspace,
            owned,
            refusal,
            children,
            components,
            holders,
        }
    }

    /// Whether something exists, or may, that only a finalizer keeps from being left behind.
    pub(super) fn has_finalizer(&self) -> bool {
        self.workspace.has_finalizer(labels::WORKSPACE_FINALIZER)
    }

    /// Whether the API server does not take what is to be made for it.
    pub(super) fn is_denied(&self) -> bool {
        !self.owned.denied(self.workspace.as_ref()).is_empty()
    }

    /// Whether it is being deleted.
    pub(super) fn is_terminating(&self) -> bool {
        self.workspace.metadata.deletion_timestamp.is_some()
    }

    /// Whether there is a tunnel or an ingress, or may be.
    pub(super) fn is_exposed(&self) -> bool {
        self.before.ingress.name.is_some() || !self.before.tunnel.intents.is_empty()
    }

    /// Whether a record points to each of its hosts, and all are answered.
    pub(super) fn is_published(&self) -> bool {
        let Wanted { records, known } = &self.records;
        let answers = |record| dns::answers(record, &self.owned);
        *known && !records.is_empty() && records.iter().all(answers)
    }

    /// Whether the route was probed as it is now, with what serves now behind it.
    pub(super) fn is_probed(&self) -> bool {
        let route = &self.before.route;
        let is_newest = route.commit.is_none() || route.commit == self.commit;
        is_newest && route.section.is(State::Healthy, self.subject.generation)
    }
}

/// The commits that serve: one alone, or each with its component's name.
fn commit(owned: &Owned) -> Option<String> {
    let serving = |component: &Arc<Component>| {
        let commit = component.status.as_ref()?.deploy.commit.clone()?;
        let name = component.spec.template.name.clone();
        Some((name, commit12(&commit).to_owned()))
    };

    let commits: Vec<_> = owned.components.iter().filter_map(serving).collect();
    match commits.as_slice() {
        [] => None,
        [(_, commit)] => Some(commit.clone()),
        several => {
            let each = several
                .iter()
                .map(|(name, commit)| format!("{name}={commit}"));
            Some(each.collect::<Vec<_>>().join(","))
        }
    }
}

/// Whether every Component is as the spec has it, and ready.
fn components(refusal: Option<&Refusal>, children: &[Child]) -> Summary {
    if let Some(refusal) = refusal {
        return refusal.clone().into();
    }

    let all = children.len();
    let good = children.iter().filter(|child| child.ready.holds).count();
    // Of equals the first is reported.
    let worst = Summary::worst(children.iter().map(|child| &child.ready));
    let bad = children
        .iter()
        .find(|child| worst == Some(&child.ready) && !child.ready.holds);
    let Some(Child {
        name, ready: bad, ..
    }) = bad
    else {
        return Summary::yes(Reason::Healthy, format!("{good} of {all} ready"));
    };

    let message = match bad.severity() {
        Severity::Failed | Severity::Superseded => format!("{name}: {}", bad.message),
        _ => format!("{good} of {all} ready; {name}: {}", bad.message),
    };

    let reason = match bad.reason {
        Reason::Superseded => Reason::InProgress,
        reason => reason,
    };

    Summary {
        reason,
        message,
        ..bad.clone()
    }
}

/// That the API server does not take its finalizer, without which nothing is made for it.
fn finalizer_denied(workspace: &Workspace, owned: &Owned, now: Timestamp) -> Option<Summary> {
    let mut denied = owned.denied(workspace).iter();
    let denied = denied.find(|denied| denied.is_of(Kind::Workspace))?;
    Some(denied.summary(now))
}

fn refusal(workspace: &Workspace, owned: &Owned, limits: &Limits) -> Option<Refusal> {
    over_quota(owned, limits)
        .or_else(|| expiry::refusal(workspace, limits))
        .or_else(|| circle(workspace))
        .or_else(|| builds_of_one_name(workspace))
}

/// One that was begun goes on.
fn over_quota(owned: &Owned, limits: &Limits) -> Option<Refusal> {
    let over =
        limits.workspaces > 0 && owned.older >= limits.workspaces && owned.components.is_empty();
    let message = format!(
        "this namespace has its {} Workspaces; it is made when one of them is deleted, or the operator allows more",
        limits.workspaces
    );

    over.then_some(Refusal {
        code: Code::WorkspaceQuotaExceeded,
        message,
    })
}

/// Two components whose builds have one name share one, as long as they say the same.
fn builds_of_one_name(workspace: &Workspace) -> Option<Refusal> {
    let components = workspace.spec.components.iter();
    let builds = components.filter_map(|component| Some((component, component.build.as_ref()?)));
    let mut first = BTreeMap::new();

    for (component, build) in builds {
        let (other, known) = *first.entry(&build.name).or_insert((component, build));
        if known != build {
            let message = format!(
                "the builds of {} and {} are both called {}, and differ; rename one, or make them equal",
                other.name, component.name, build.name
            );
            return Some(Refusal::new(Code::BuildNameConflict, message));
        }
    }
    None
}

fn circle(workspace: &Workspace) -> Option<Refusal> {
    let names = workspace.spec.components.iter().map(|component| {
        let on = component
            .depends_on
            .iter()
            .map(|dependency| dependency.component_name.as_str())
            .collect();
        (component.name.as_str(), on)
    });
    let circle = sequencer_api::dependencies::cycle(&names.collect())?;
    let message = format!(
        "components wait for each other: {}; remove one of these dependsOn",
        circle.join(" -> ")
    );

    Some(Refusal {
        code: Code::DependencyCycle,
        message,
    })
}
