use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::plan::EventReason;

/// What the network service records of a record that it gave up; its own tests compare.
const GIVEN_UP: &str = include_str!("../../../api/tests/abandoned/record.json");

/// The plan for a record that is being deleted, with this section.
fn plan(section: &Value, abandon: Abandon) -> Plan {
    let record: DNSRecord = serde_json::from_value(json!({
        "metadata": {
            "name": "w.preview.test.cname", "namespace": "release", "uid": "r", "generation": 2,
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [labels::RECORD_FINALIZER],
        },
        "spec": {"zone": "preview.test", "name": "w", "recordType": "CNAME", "target": "t.example"},
        "status": {"record": section},
    }))
    .unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let retry = Retry::default();

    let view = RecordView {
        subject: Subject::of(Kind::DnsRecord, &record, Uuid::nil(), retry, now),
        before: record.status.clone().unwrap_or_default(),
        record: record.into(),
        chart: Arc::default(),
        workspace: Some(workspace()),
        orphan: false,
        unreachable: false,
        abandon,
    };
    view.plan()
}

fn workspace() -> Target {
    Target {
        kind: Kind::Workspace,
        namespace: "team-a".into(),
        name: "w".into(),
        uid: "u".into(),
    }
}

fn failed() -> Value {
    let mut section: Value = serde_json::from_str(GIVEN_UP).unwrap();
    section["state"] = json!("Error");
    section
}

/// Whether the finalizer goes, and nobody is asked any more.
fn ends(plan: &Plan) -> bool {
    matches!(plan.actions.as_slice(), [Action::Patch { .. }]) && plan.notifications.is_empty()
}

/// Whether its Workspace gets the one Event that names all that identifies the record.
fn is_named(plan: &Plan) -> bool {
    let [event] = plan.events.as_slice() else {
        return false;
    };
    let named = ["CNAME", "w.preview.test", "main"];

    (&event.target, event.reason) == (&workspace(), EventReason::Abandoned)
        && named.iter().all(|name| event.message.contains(name))
}

#[test]
fn a_record_that_the_network_service_gave_up_goes_at_once_and_is_named_to_its_workspace() {
    let section = serde_json::from_str(GIVEN_UP).unwrap();
    let plan = plan(&section, Abandon::No);
    assert!(ends(&plan) && is_named(&plan), "{plan:?}");
}

#[test]
fn a_record_that_cannot_be_deleted_stays_until_its_time_is_over() {
    let later = Abandon::At(Timestamp::from_second(60).unwrap());
    for abandon in [Abandon::No, later] {
        let plan = plan(&failed(), abandon);
        assert!(
            plan.actions.is_empty() && plan.events.is_empty(),
            "{plan:?}"
        );
        assert_eq!(plan.notifications.len(), 1);
    }

    let plan = plan(&failed(), Abandon::Now);
    assert!(ends(&plan) && is_named(&plan), "{plan:?}");
}

#[test]
fn a_record_that_was_never_begun_or_is_gone_leaves_nothing_to_tell() {
    let gone = json!({"state": "Gone", "provider": "main"});
    for section in [json!({}), gone] {
        let plan = plan(&section, Abandon::Now);
        assert!(ends(&plan) && plan.events.is_empty(), "{plan:?}");
    }
}
