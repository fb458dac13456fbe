use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::chart::Chart;

/// What the network service records of a tunnel that it gave up; its own tests compare.
const GIVEN_UP: &str = include_str!("../../../../api/tests/abandoned/tunnel.json");

const UID: &str = "00000000-0000-4000-8000-000000000001";

fn given_up() -> Value {
    serde_json::from_str(GIVEN_UP).unwrap()
}

/// The plan for a Workspace that is being deleted, with this tunnel. One that is abandoned has this
/// many seconds left.
fn planned(tunnel: &Value, abandoned: Option<i64>) -> Plan {
    let annotation = abandoned.map(|_left| json!({labels::ABANDON_EXTERNAL: UID}));
    let workspace: Workspace = serde_json::from_value(json!({
        "metadata": {
            "name": "w", "namespace": "team-a", "uid": UID, "generation": 2, "annotations": annotation,
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [labels::WORKSPACE_FINALIZER],
        },
        "spec": {"components": []},
        "status": {"tunnel": tunnel},
    }))
    .unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let owned = Owned {
        abandoned_since: abandoned.map(|left| Timestamp::from_second(left).unwrap()),
        ..Owned::default()
    };

    let chart = Arc::new(Chart::default());
    let view = WorkspaceView::new(workspace.into(), owned, &|_| None, &chart, now);
    let mut planned = Plan::default();
    plan(&mut planned, &view);
    planned
}

/// The one Event of a plan that ends the Workspace.
fn last(plan: &Plan) -> (EventReason, &str) {
    assert!(
        matches!(plan.actions.as_slice(), [Action::Patch { .. }]),
        "{plan:?}"
    );
    assert!(plan.notifications.is_empty(), "{plan:?}");
    let [event] = plan.events.as_slice() else {
        panic!("{plan:?}")
    };
    (event.reason, &event.message)
}

#[test]
fn a_tunnel_that_the_network_service_gave_up_is_named_with_its_account() {
    let plan = planned(&given_up(), Some(60));
    let (reason, message) = last(&plan);
    assert_eq!(reason, EventReason::Abandoned);
    for name in ["seq-c1-5f1f9b62", "0123456789abcdef0123456789abcdef"] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn what_else_may_stand_when_the_time_is_over_is_named_too() {
    let mut tunnel = given_up();
    tunnel["state"] = json!("Error");
    for part in ["connector", "credentialRef"] {
        tunnel[part] = json!({"name": "w-tunnel-b2k4ns", "namespace": "sequencer-tunnels"});
    }

    let plan = planned(&tunnel, Some(0));
    let (reason, message) = last(&plan);
    assert_eq!(reason, EventReason::Abandoned);
    for name in [
        "seq-c1-5f1f9b62",
        "Deployment sequencer-tunnels/w-tunnel-b2k4ns",
        "Secret sequencer-tunnels/w-tunnel-b2k4ns",
    ] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_tunnel_that_nobody_gave_up_or_that_has_time_left_is_tried_again() {
    let mut tunnel = given_up();
    tunnel["state"] = json!("Error");
    for abandoned in [None, Some(60)] {
        let plan = planned(&tunnel, abandoned);
        assert!(
            plan.actions.is_empty() && plan.events.is_empty(),
            "{plan:?}"
        );
        assert_eq!(plan.notifications.len(), 1);
    }
}

#[test]
fn nothing_is_said_to_be_left_only_where_nothing_was_given_up() {
    let gone = json!({"rev": 3, "state": "Gone"});
    let (alone, abandoned) = (planned(&gone, None), planned(&gone, Some(0)));
    let nothing = "nothing of it is left";

    assert_eq!(last(&alone).0, EventReason::Deleted);
    assert!(last(&alone).1.contains(nothing));
    // Its records may have been left behind.
    assert_eq!(last(&abandoned).0, EventReason::Deleted);
    assert!(!last(&abandoned).1.contains(nothing));
}
