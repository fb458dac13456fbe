use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};

use super::*;

struct Following {
    known: Known,
    first: Receiver<Infallible>,
    again: UnboundedReceiver<()>,
}

impl Following {
    fn new() -> Self {
        let ((first, first_end), (again, again_end)) = (channel(1), unbounded_channel());
        Self {
            known: Known::new(&Lists { first, again }),
            first: first_end,
            again: again_end,
        }
    }

    /// Whether an event brings its object.
    fn brings(&mut self, event: Event<Pod>) -> bool {
        self.known.changed(event, pod).is_some()
    }
}

/// A pod with this status of its only container, and these conditions.
fn a_pod(container: &Value, conditions: &Value) -> Pod {
    let mut status =
        json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0});
    status
        .as_object_mut()
        .unwrap()
        .extend(container.as_object().unwrap().clone());

    serde_json::from_value(json!({
        "metadata": {"name": "a", "uid": "u"},
        "status": {"containerStatuses": [status], "conditions": conditions},
    }))
    .unwrap()
}

fn creating() -> Value {
    json!({"state": {"waiting": {"reason": "ContainerCreating"}}})
}

fn waiting(reason: &str) -> Pod {
    a_pod(
        &json!({"state": {"waiting": {"reason": reason}}}),
        &json!([]),
    )
}

fn running() -> Pod {
    a_pod(
        &json!({"ready": true, "state": {"running": {}}}),
        &json!([]),
    )
}

#[test]
fn an_object_comes_when_something_of_it_changed_and_when_it_is_gone() {
    let mut following = Following::new();

    assert!(following.brings(Event::Apply(running())));
    assert!(!following.brings(Event::Apply(running())));
    assert!(following.brings(Event::Apply(waiting("ErrImagePull"))));
    assert!(following.brings(Event::Delete(waiting("ErrImagePull"))));
}

#[test]
fn what_is_there_when_it_begins_does_not_come() {
    let mut following = Following::new();

    for event in [
        Event::Init,
        Event::InitApply(running()),
        Event::InitDone,
        Event::Apply(running()),
    ] {
        assert!(!following.brings(event));
    }

    assert!(following.again.is_empty());
}

#[test]
fn what_went_while_nobody_followed_has_everything_reconciled() {
    let mut following = Following::new();

    assert!(!following.first.is_closed());
    for event in [Event::Init, Event::InitDone] {
        following.brings(event);
    }

    assert!(following.first.is_closed() && following.again.is_empty());

    for event in [Event::Init, Event::InitDone] {
        following.brings(event);
    }

    assert_eq!(following.again.len(), 1);
}

#[test]
fn a_pod_that_starts_does_not_come_and_one_that_waits_for_its_image_or_fails_does() {
    let mut following = Following::new();
    let pulling = json!([{"type": "PodReadyToStartContainers", "status": "True"}]);
    let unschedulable =
        json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]);

    following.brings(Event::Apply(waiting("ContainerCreating")));
    assert!(!following.brings(Event::Apply(waiting("PodInitializing"))));
    assert!(!following.brings(Event::Apply(running())));
    assert!(following.brings(Event::Apply(a_pod(&creating(), &pulling))));
    assert!(following.brings(Event::Apply(a_pod(&json!({}), &unschedulable))));
    let restarted = a_pod(&json!({"restartCount": 1}), &json!([]));
    assert!(following.brings(Event::Apply(restarted)));
}
