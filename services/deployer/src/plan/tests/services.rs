//! Services, and the names by which components find each other.

use sequencer_api::code::Code;
use sequencer_api::names::Owner;
use serde_json::{Value, json};

use crate::plan::testing::{planned, settings, view};

fn refused(name: &str, change: impl FnOnce(&mut Value)) -> Code {
    planned(&view(name, change), &settings(&[]))
        .unwrap_err()
        .code
}

#[test]
fn services_are_named_and_reach_the_ports_that_they_should() {
    let view = view("click-mania", |spec| {
        let component = &mut spec["components"][2];
        component["template"]["containers"][0]["ports"] =
            json!([{"name": "web", "containerPort": 3000}]);
        let grpc = json!({"name": "gRPC", "port": 9, "protocol": "UDP", "appProtocol": "x"});
        component["networks"] = json!([{"name": "http", "port": 80, "targetPort": "web"}, grpc]);
    });
    let services = planned(&view, &settings(&[])).unwrap().services;
    let port = |index: usize| &services[index].body["spec"]["ports"][0];

    assert_eq!(
        *port(0),
        json!({"name": "port", "port": 80, "targetPort": "web", "protocol": "TCP"})
    );
    assert_eq!(
        *port(1),
        json!({"name": "port", "port": 9, "targetPort": 9, "protocol": "UDP", "appProtocol": "x"})
    );

    let unknown = refused("redis", |spec| {
        spec["components"][0]["networks"][0]["targetPort"] = json!("nope")
    });
    assert_eq!(unknown, Code::TargetPortUnknown);
}

#[test]
fn two_components_of_one_name_without_a_workspace_are_told() {
    let mut view = view("redis", |_spec| ());
    view.workspace = None;
    let mut twin = view.component.clone();
    twin.metadata.name = Some("other".into());
    assert!(planned(&view, &settings(&[])).is_ok());
    view.siblings.push(twin);
    assert_eq!(
        planned(&view, &settings(&[])).unwrap_err().code,
        Code::ComponentNameConflict
    );
}

#[test]
fn components_of_their_own_have_names_of_their_own() {
    let mut view = view("redis", |spec| {
        let env = json!([{"name": "X", "value": "${components::mysql.networks.tcp}"}]);
        spec["components"][0]["template"]["containers"][0]["env"] = env;
    });
    view.workspace = None;
    view.siblings
        .retain(|sibling| sibling.spec.template.name == "mysql");

    let mysql = view.siblings[0].clone();
    let service = Owner::of(&mysql).service("mysql", "tcp");
    let plan = planned(&view, &settings(&[])).unwrap();
    let env =
        &plan.workload.unwrap().object.body["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(env["value"], format!("{service}.sequencer-system.svc"));

    assert_eq!((plan.services.len(), plan.policies.len()), (1, 1));
    let mut all = plan.services.iter().chain(&plan.policies);
    assert!(all.all(|object| object.owner() == view.uid()));
}
