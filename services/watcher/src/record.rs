//! A DNSRecord: made at its provider, answered, and gone from there before it goes.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt as _};
use sequencer_api::condition::{ConditionType, Reason, Summary, holds_for};
use sequencer_api::host::not_granted;
use sequencer_api::labels;
use sequencer_api::provider::{self, Provider};
use sequencer_api::status::dns_record::{DNSRecordPhase, DNSRecordStatus, RecordSection};
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_api::status::{State, StatusSection as _};
use sequencer_api::stored::Stored as _;
use sequencer_api::{DNSRecord, Workspace};
use sequencer_proto::topics::{Kind, Verb};
use sequencer_runtime::cluster;
use sequencer_runtime::patch::test;

use crate::abandon::{abandoned, gives_up};
use crate::cache::{Cache, Index};
use crate::chart::Chart;
use crate::conditions::{Conditions, Verdict, advice, wrong};
use crate::error::Error;
use crate::events::transitions;
use crate::notifier::notify;
use crate::owned::{Abandon, workspace_of_record};
use crate::plan::{Action, Cause, Event, Plan, Subject, Target};
use crate::reconcile::{Context, Reconciled};
use crate::retry::Retry;
use crate::triggers::Triggers;

/// What is known of a DNSRecord.
pub struct RecordView {
    subject: Subject,
    record: Arc<DNSRecord>,
    before: DNSRecordStatus,
    chart: Arc<Chart>,
    /// Its Workspace, if that is there.
    workspace: Option<Target>,
    /// Whether its Workspace is gone.
    orphan: bool,
    /// Whether its Workspace's URL does not answer as it should any more.
    unreachable: bool,
    abandon: Abandon,
}

impl Reconciled for RecordView {
    type Object = DNSRecord;
    type Status = DNSRecordStatus;
    const KIND: Kind = Kind::DnsRecord;

    fn index(cache: &Cache) -> &Index<DNSRecord> {
        &cache.records
    }

    fn changed(record: &DNSRecord, cache: &Cache, triggers: &Triggers) {
        triggers.record(cache, record);
    }

    async fn observe(
        record: Arc<DNSRecord>,
        context: &Context,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let chart = context.chart.clone();
        let orphan = is_orphan(context, &record).await?;
        let owned = context.cache.owned_of_record(&record);
        let workspace = owned.workspace.as_deref();

        let owner = workspace_of_record(&record);
        let above = workspace.map(Resource::meta);
        let retry = Retry::of(record.as_ref(), &[above]).outside(workspace);

        Ok(Some(Self {
            subject: Subject::of(Kind::DnsRecord, record.as_ref(), owner, retry, now),
            before: record.status.clone().unwrap_or_default(),
            workspace: workspace.map(|workspace| Target::of(Kind::Workspace, workspace)),
            abandon: owned.abandon(chart.abandon_after, now),
            chart,
            orphan,
            unreachable: workspace
                .and_then(|workspace| workspace.status.as_ref())
                .is_some_and(WorkspaceStatus::is_unreachable),
            record,
        }))
    }

    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn before(&self) -> &DNSRecordStatus {
        &self.before
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let (subject, section) = (&self.subject, &self.before.record.section);

        if self.record.metadata.deletion_timestamp.is_some() {
            self.tear_down(&mut plan);
        } else if self.orphan {
            plan.actions.push(Action::Delete(subject.target.clone()));
        } else {
            // Without a target it only holds its host.
            let settled = self.record.spec.target.is_none()
                || section.is(State::Completed, subject.generation);
            let cause = if self.unreachable {
                Cause::Unreachable
            } else {
                Cause::Spec
            };
            notify(&mut plan, subject, Verb::Dns, None, section, settled, cause);
        }

        plan
    }

    fn status(&self) -> DNSRecordStatus {
        let (record, subject) = (self.record.as_ref(), &self.subject);
        let summaries = summaries(record, &self.chart.zones.providers, subject.now);
        let verdict = verdict(record, &summaries);
        let ready = conclude(record, verdict);

        let terminating = record.metadata.deletion_timestamp.is_some();
        let phase = match ready.reason {
            _ if terminating => DNSRecordPhase::Terminating,
            _ if ready.holds => DNSRecordPhase::Completed,
            Reason::Code(_) if !ready.retried => DNSRecordPhase::Error,
            _ => DNSRecordPhase::InProgress,
        };

        let before = &self.before.conditions;
        let mut conditions = Conditions::new(before, subject.generation, subject.now);
        for (kind, summary) in &summaries {
            conditions.add(*kind, summary);
        }

        let stalled = advice(&ready, "dnsr", record);
        DNSRecordStatus {
            observed_generation: subject.generation,
            phase,
            conditions: conditions.finish(&ready, verdict.retried, false, &stalled),
            ..self.before.clone()
        }
    }

    fn events(&self, after: &DNSRecordStatus) -> Vec<Event> {
        let before = &self.before.conditions;
        transitions(&self.subject.target, before, &after.conditions, false)
    }
}

impl RecordView {
    /// Its finalizer stands until it is gone at its provider, or given up.
    fn tear_down(&self, plan: &mut Plan) {
        let Self {
            subject, before, ..
        } = self;
        let (target, section) = (subject.target.clone(), &before.record.section);
        let finalizer = labels::RECORD_FINALIZER;
        // Not if a worker wrote an intent since.
        let same = test(&["status", "record", "rev"], section.rev);
        let remove = Action::remove_finalizer(target, self.record.as_ref(), finalizer, vec![same]);
        let Some(remove_finalizer) = remove else {
            return;
        };

        if section.state == Some(State::Gone) {
            plan.actions.push(remove_finalizer);
        } else if gives_up(plan, self.abandon, section, subject.now) {
            let about = self.workspace.as_ref().unwrap_or(&subject.target);
            let left = self.left_behind();
            plan.events.extend(left.map(|what| abandoned(about, &what)));
            plan.actions.push(remove_finalizer);
        } else {
            let cause = Cause::Deleting;
            notify(plan, subject, Verb::Dns, None, section, false, cause);
        }
    }

    /// What is left at the provider if it goes now. Its provider is written down before the first
    /// act: without one there is nothing.
    fn left_behind(&self) -> Option<String> {
        let provider = self.before.record.provider.as_deref()?;
        let spec = &self.record.spec;

        Some(format!(
            "{} record {} at {provider} (DNSRecord {})",
            spec.record_type.as_str(),
            spec.fqdn(),
            self.subject.target.name
        ))
    }
}

/// Whether a record's Workspace is gone: the cache may be late, so the API server is asked (a
/// quorum read).
async fn is_orphan(context: &Context, record: &DNSRecord) -> Result<bool, Error> {
    let labels = record.labels();
    let (Some(uid), Some(namespace), Some(name)) = (
        labels.get(labels::WORKSPACE_UID),
        labels.get(labels::WORKSPACE_NAMESPACE),
        labels.get(labels::WORKSPACE),
    ) else {
        return Ok(false);
    };

    if context.cache.workspace_of_record(record).is_some() {
        return Ok(false);
    }

    let api = Api::<Workspace>::namespaced(context.client.clone(), namespace);
    let found = cluster::current(&api, name, uid).await;

    found
        .map(|found| found.is_none())
        .map_err(|error| Error::Read(format!("Workspace {namespace}/{name}"), error))
}

/// Returns what `Ready` says.
#[must_use]
pub(crate) fn ready(record: &DNSRecord, providers: &[Provider], now: Timestamp) -> Summary {
    let summaries = summaries(record, providers, now);
    conclude(record, verdict(record, &summaries))
}

/// The summaries in the order of the work.
fn summaries(
    record: &DNSRecord,
    providers: &[Provider],
    now: Timestamp,
) -> Vec<(ConditionType, Summary)> {
    let before = RecordSection::of(record);
    let generation = record.generation();
    let done = before.section.is(State::Completed, generation);
    let wrong = wrong(&before.section, before.failure.as_ref(), generation, now);
    let pending = |message: &str| match record.spec.target {
        Some(_) => Summary::no(Reason::InProgress, message),
        None => Summary::no(
            Reason::Waiting,
            "holds the host; waiting for what is behind it",
        ),
    };

    let made = if before.remote_id.is_some() || done {
        Summary::yes(Reason::Completed, "made, and ours")
    } else {
        wrong
            .clone()
            .unwrap_or_else(|| pending("creating the record"))
    };

    let resolved = if done {
        let message = match before.nameservers.len() {
            1 => "1 authoritative server answers".into(),
            servers => format!("{servers} authoritative servers answer"),
        };
        Summary::yes(Reason::Completed, message)
    } else {
        wrong.unwrap_or_else(|| pending("waiting for every authoritative server to answer"))
    };

    vec![
        (ConditionType::Provider, provider(record, providers)),
        (ConditionType::Record, made),
        (ConditionType::Resolved, resolved),
    ]
}

/// A record that was answered as its spec is now is looked at again and again.
fn verdict<'a>(record: &DNSRecord, summaries: &'a [(ConditionType, Summary)]) -> Verdict<'a> {
    let status = record.status.as_ref();
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let answered = holds_for(conditions, ConditionType::Ready, record.generation());
    let looked_at: &[_] = if answered {
        &[ConditionType::Record, ConditionType::Resolved]
    } else {
        &[]
    };
    Verdict::of(summaries, looked_at)
}

fn conclude(record: &DNSRecord, verdict: Verdict<'_>) -> Summary {
    let terminating = record.metadata.deletion_timestamp.is_some();
    if terminating
        && verdict
            .wrong
            .is_none_or(|wrong| wrong.reason.code().is_none())
    {
        return Summary::no(Reason::Terminating, "being deleted at its provider");
    }

    if let Some(wrong) = verdict.wrong {
        return wrong.clone();
    }

    let made = RecordSection::of(record);
    let message = format!(
        "{} by {}",
        made.record_type.as_deref().unwrap_or_default(),
        made.provider.as_deref().unwrap_or_default()
    );
    Summary::yes(Reason::Completed, message)
}

fn provider(record: &DNSRecord, providers: &[Provider]) -> Summary {
    let namespace = record
        .labels()
        .get(labels::WORKSPACE_NAMESPACE)
        .map_or("", String::as_str);
    match provider::choose(
        providers,
        &record.spec.zone,
        namespace,
        record.spec.provider.as_deref(),
    ) {
        Ok(provider) => Summary::yes(Reason::Completed, provider.name.clone()),
        Err(code) => not_granted(code, &record.spec.zone).into(),
    }
}

#[cfg(test)]
mod tests;
