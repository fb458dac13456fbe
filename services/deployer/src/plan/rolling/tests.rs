use k8s_openapi::api::core::v1::Service;
use kube::api::ApiResource;

use super::*;
use crate::plan::testing::{planned, settings, view};

const NEW: &str = "new";

/// Ports and the hash of the Service of a component with this network.
fn beside(network: &Value, pods: &[Pod], ports: Value, hash: Option<&str>) -> (Value, Value) {
    let view = view("click-mania", |spec| {
        spec["components"][2]["networks"] = json!([network]);
    });
    let plan = planned(&view, &settings(&[])).unwrap();
    let resource = ApiResource::erase::<Service>(&());
    let mut selector = json!({});
    if let Some(hash) = hash {
        selector[HASH] = json!(hash);
    }
    let spec = json!({"ports": ports, "selector": selector});
    let mut found = DynamicObject::new("x", &resource).data(json!({ "spec": spec }));
    found.labels_mut().insert(NETWORK.into(), "http".into());

    let serving = Serving::of(pods, Some(&NEW.to_owned()));
    let service = service(&plan.services[0], Some(&found), &serving);
    let spec = &service.body["spec"];
    (spec["ports"].clone(), spec["selector"][HASH].clone())
}

fn pod(revision: &str, ready: bool) -> Pod {
    let ready = if ready { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": {"labels": {HASH: format!("hash-of-{revision}")}, "annotations": {REVISION: revision}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

fn port(name: &str, number: u16, target: u16) -> Value {
    json!({"name": name, "port": number, "targetPort": target, "protocol": "TCP"})
}

fn network(number: u16, target: u16) -> Value {
    json!({"name": "HTTP", "port": number, "targetPort": target})
}

#[test]
fn a_service_stays_with_the_pods_that_serve_until_as_many_newer_ones_are_ready() {
    let (network, old) = (network(80, 3001), json!([port("port", 80, 3000)]));
    let new = json!([port("port", 80, 3001)]);
    let at = |pods: &[Pod]| beside(&network, pods, old.clone(), None);

    let stays = (old.clone(), json!("hash-of-old"));
    // As long as the newer revision is held back, too.
    assert_eq!(at(&[pod("old", true)]), stays);
    assert_eq!(at(&[pod("old", true), pod(NEW, false)]), stays);
    let turned = (new.clone(), json!("hash-of-new"));
    assert_eq!(at(&[pod("old", true), pod(NEW, true)]), turned);
    assert_eq!(at(&[pod(NEW, true)]), (new.clone(), Value::Null));
    // What is not ready for a moment will be asked where it listens.
    assert_eq!(at(&[pod("old", false), pod(NEW, false)]), stays);
}

#[test]
fn a_service_that_has_turned_does_not_turn_back_to_all() {
    let new = json!([port("port", 80, 3001)]);
    let pods = [pod("old", true), pod(NEW, true)];
    let turned = beside(&network(80, 3001), &pods, new.clone(), Some("hash-of-new"));
    assert_eq!(turned, (new, json!("hash-of-new")));
}

#[test]
fn where_the_pods_are_asked_as_before_all_of_them_serve() {
    let old = json!([port("port", 80, 3000)]);
    let pods = [pod("old", true), pod(NEW, false)];
    let same = beside(&network(80, 3000), &pods, old.clone(), None);
    assert_eq!(same, (old, Value::Null));
}

#[test]
fn a_port_is_open_under_its_earlier_number_too_and_no_port_changes_its_name_meanwhile() {
    let pods = [pod("old", true)];
    let first = json!([port("port", 80, 3000)]);
    let (both, _) = beside(&network(8080, 3000), &pods, first, None);
    let expected = [port("port-8080-tcp", 8080, 3000), port("port", 80, 3000)];
    assert_eq!(both, json!(expected));
    let (again, _) = beside(&network(8080, 3000), &pods, both, None);
    assert_eq!(again, json!(expected));
    let (after, _) = beside(&network(8080, 3000), &[pod(NEW, true)], again, None);
    assert_eq!(after, json!([port("port", 8080, 3000)]));
}

#[test]
fn a_port_with_the_name_of_an_earlier_version_is_ours_and_others_are_not() {
    let found = json!([port("http", 80, 3000), port("debug", 9229, 9229)]);
    let (ports, _) = beside(&network(8080, 3000), &[pod("old", true)], found, None);
    assert_eq!(
        ports,
        json!([port("port", 8080, 3000), port("http", 80, 3000)])
    );
}

#[test]
fn pods_that_end_serve_nobody() {
    let mut ending = pod("old", true);
    ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
    let mut over = pod("old", true);
    over.status.get_or_insert_default().phase = Some("Failed".into());
    let new = json!([port("port", 80, 3001)]);
    let old = json!([port("port", 80, 3000)]);
    let pods = [ending, over, pod(NEW, false)];
    assert_eq!(
        beside(&network(80, 3001), &pods, old, None),
        (new, Value::Null)
    );
}
