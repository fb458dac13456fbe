//! A DNSRecord: made at its provider, answered, and gone from there before it goes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use sequencer_api::DNSRecord;
use sequencer_api::code::Code;
use sequencer_api::labels;
use sequencer_api::provider::{self, Provider};
use sequencer_api::status::State;
use sequencer_api::status::dns_record::{DNSRecordPhase, DNSRecordStatus};
use sequencer_proto::topics::{Kind, Verb};
use serde_json::json;

use crate::conditions::{Conditions, Fact, Reason, worst};
use crate::family::{Abandon, Family, outside_word, retry_word, root};
use crate::plan::{Action, Plan, Target, told};
use crate::section::is;
use crate::wakes::{Work, call};
use crate::workspace::{abandoned, gives_up};

/// What is left to do for a record. `orphan` says that its Workspace is gone.
#[must_use]
pub fn plan(record: &DNSRecord, family: &Family, orphan: bool, abandon: Abandon, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let status = record.status.clone().unwrap_or_default();
    let generation = record.metadata.generation.unwrap_or_default();
    let target = Target::of(Kind::DnsRecord, record);
    let above = family.workspace.as_deref();
    let retry = format!("{}{}", retry_word(record), above.map(outside_word).unwrap_or_default());
    let work = Work { target: &target, workspace: root(record), generation, retry: &retry, now };
    let section = &status.record.section;
    if record.metadata.deletion_timestamp.is_none() {
        if orphan {
            plan.actions.push(Action::Delete(target));
            return plan;
        }
        call(&mut plan, &work, Verb::Dns, None, section, is(section, State::Completed, generation), "");
        return plan;
    }
    let Some(at) = record.finalizers().iter().position(|finalizer| finalizer == labels::RECORD_FINALIZER) else {
        return plan;
    };
    let gone = section.state == Some(State::Gone);
    if gone {
        plan.actions.push(lift(target, at, labels::RECORD_FINALIZER));
    } else if gives_up(&mut plan, abandon, section, now) {
        let provider = status.record.provider.as_deref().unwrap_or("no provider");
        let what = format!("DNS record {} at {provider}", target.name);
        let about = above.map_or_else(|| target.clone(), |workspace| Target::of(Kind::Workspace, workspace));
        plan.events.push(abandoned(&about, &what));
        plan.actions.push(lift(target, at, labels::RECORD_FINALIZER));
    } else {
        call(&mut plan, &work, Verb::Dns, None, section, false, "deleting");
    }
    plan
}

/// Takes a finalizer away, if it still stands where it was seen.
pub(crate) fn lift(target: Target, at: usize, finalizer: &str) -> Action {
    let path = format!("/metadata/finalizers/{at}");
    let operations = json!([{"op": "test", "path": path, "value": finalizer}, {"op": "remove", "path": path}]);
    Action::Patch { target, operations }
}

/// The watcher's part of a record's status.
#[must_use]
pub fn status(record: &DNSRecord, providers: &[Provider], now: Timestamp) -> DNSRecordStatus {
    let before = record.status.clone().unwrap_or_default();
    let generation = record.metadata.generation.unwrap_or_default();
    let section = &before.record.section;
    let served = provider(record, providers);
    let wrong = Fact::wrong(section, before.record.failure.as_ref(), generation);
    let made = if before.record.remote_id.is_some() || is(section, State::Completed, generation) {
        Fact::yes(Reason::Completed, "made, and ours")
    } else {
        wrong.clone().unwrap_or_else(|| Fact::no(Reason::InProgress, "being made"))
    };
    let resolved = if is(section, State::Completed, generation) {
        Fact::yes(Reason::Completed, format!("{} authoritative servers answer", before.record.nameservers.len()))
    } else {
        wrong.unwrap_or_else(|| Fact::no(Reason::InProgress, "not yet answered by every authoritative server"))
    };
    let mut ready = worst([&served, &made, &resolved]).cloned().unwrap_or_else(|| resolved.clone());
    if ready.holds {
        let provider = before.record.provider.as_deref().unwrap_or_default();
        let kind = before.record.record_type.as_deref().unwrap_or_default();
        ready = Fact::yes(Reason::Completed, format!("{kind} by {provider}, {}", resolved.message));
    }
    let terminating = record.metadata.deletion_timestamp.is_some();
    if terminating && !matches!(ready.reason, Reason::Error | Reason::Retrying) {
        ready = Fact::no(Reason::Terminating, "being deleted at its provider");
    }
    let phase = match ready.reason {
        _ if terminating => DNSRecordPhase::Terminating,
        _ if ready.holds => DNSRecordPhase::Completed,
        Reason::Error => DNSRecordPhase::Error,
        _ => DNSRecordPhase::InProgress,
    };
    let mut conditions = Conditions::new(&before.conditions, generation, now);
    conditions.add("Provider", &served);
    conditions.add("Record", &made);
    conditions.add("Resolved", &resolved);
    let conditions: Vec<Condition> =
        conditions.finish(&ready, false, "look at the provider; it is looked at again by itself");
    DNSRecordStatus { observed_generation: generation, phase, conditions, ..before }
}

fn provider(record: &DNSRecord, providers: &[Provider]) -> Fact {
    let namespace = record.labels().get(labels::WORKSPACE_NAMESPACE).map_or("", String::as_str);
    match provider::choose(providers, &record.spec.zone, namespace, record.spec.provider.as_deref()) {
        Ok(provider) => Fact::yes(Reason::Completed, provider.name.clone()),
        Err(code) => Fact::no(Reason::Error, told(code, &no_provider(code, &record.spec.zone))),
    }
}

/// What people read where no provider serves a zone.
pub(crate) fn no_provider(code: Code, zone: &str) -> String {
    let shown: String = zone.chars().take(64).collect();
    if code == Code::ZONE_NOT_GRANTED {
        format!(
            "no DNS provider of the chart serves zone {shown} for this namespace: the operator adds it to dns.providers"
        )
    } else {
        format!("zone {shown} cannot be used")
    }
}
