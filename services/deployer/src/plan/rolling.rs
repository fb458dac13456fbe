//! A Service while pods of more than one revision serve.

use k8s_openapi::api::core::v1::{PodSpec, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::DynamicObject;
use sequencer_api::component::Network;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::service::PORT;
use super::{Object, ports};

/// Where a Service has its ports.
const PORTS: &str = "/spec/ports";

/// The most earlier ports that a Service keeps.
const MOST: usize = 8;

/// The Service of a network beside these pods. It goes by the port's name once each of them has it,
/// else by its number. A port that it had until now, `found`, stays beside it.
pub(crate) fn service(
    planned: &Object,
    network: &Network,
    pods: &[PodSpec],
    found: Option<&DynamicObject>,
) -> Object {
    let found = found.map(|found| of(&found.data)).unwrap_or_default();
    let all_have = |target: &IntOrString| match target {
        IntOrString::String(name) => pods.iter().all(|pod| ports::number(pod, name).is_some()),
        IntOrString::Int(_) => true,
    };
    let wanted = of(&planned.body).into_iter().map(|port| ServicePort {
        target_port: Some(
            port.target_port
                .filter(all_have)
                .unwrap_or_else(|| network.target_port()),
        ),
        ..port
    });
    let wanted: Vec<_> = wanted.collect();

    let is_wanted = |port: &ServicePort| wanted.iter().any(|other| at(other) == at(port));
    let is_ours = |port: &ServicePort| {
        let name = port.name.as_deref();
        name == Some(PORT) || name == Some(&earlier(port))
    };
    let kept = found
        .iter()
        .filter(|port| is_ours(port) && !is_wanted(port));
    let kept = kept.take(MOST).map(|port| ServicePort {
        name: Some(earlier(port)),
        node_port: None,
        ..port.clone()
    });
    let ports: Vec<_> = wanted.iter().cloned().chain(kept).collect();
    planned.with(PORTS, json!(ports))
}

/// Number and protocol: a Service has no two ports of the same.
fn at(port: &ServicePort) -> (i32, &str) {
    (port.port, port.protocol.as_deref().unwrap_or("TCP"))
}

/// The name of a port that another took the place of.
fn earlier(port: &ServicePort) -> String {
    let (number, protocol) = at(port);
    format!("{PORT}-{number}-{}", protocol.to_ascii_lowercase())
}

/// The ports of a Service.
fn of(service: &Value) -> Vec<ServicePort> {
    let ports = service.pointer(PORTS);
    let ports = ports.map(Vec::<ServicePort>::deserialize);
    ports.and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::api::ApiResource;

    use super::*;
    use crate::plan::testing::{planned, settings, view};

    /// The ports of the Service of a component with this network beside pods that have these ports.
    fn beside(network: &Value, pods: &Value, found: Value) -> Value {
        let view = view("click-mania", |spec| {
            spec["components"][2]["networks"] = json!([network]);
        });
        let plan = planned(&view, &settings(&[])).unwrap();
        let resource = ApiResource::erase::<Service>(&());
        let found = DynamicObject::new("x", &resource).data(json!({"spec": {"ports": found}}));
        let pods: Vec<PodSpec> = serde_json::from_value(pods.clone()).unwrap();
        let network = &view.template().networks[0];
        let service = service(&plan.services[0], network, &pods, Some(&found));
        service.body["spec"]["ports"].clone()
    }

    fn pod(name: &str, number: u16) -> Value {
        let ports = json!([{"name": name, "containerPort": number}]);
        json!({"containers": [{"name": "click", "ports": ports}]})
    }

    fn port(name: &str, number: u16, target: impl Into<Value>) -> Value {
        json!({"name": name, "port": number, "targetPort": target.into(), "protocol": "TCP"})
    }

    #[test]
    fn a_service_goes_by_the_name_that_all_pods_have() {
        let network = json!({"name": "HTTP", "port": 80, "targetPort": 8080});
        let by_name = json!([port("port", 80, "http")]);
        let both = json!([pod("http", 3000), pod("http", 8080)]);
        assert_eq!(beside(&network, &both, json!([])), by_name);
        assert_eq!(beside(&network, &json!([]), json!([])), by_name);

        let one = json!([pod("web", 3000), pod("http", 8080)]);
        let by_number = json!([port("port", 80, 8080)]);
        assert_eq!(beside(&network, &one, by_name), by_number);
    }

    #[test]
    fn a_service_keeps_the_ports_that_it_had() {
        let network = json!({"name": "HTTP", "port": 8080});
        let pods = json!([pod("http", 80)]);
        let first = json!([port("port", 80, "http")]);
        let both = json!([port("port", 8080, "http"), port("port-80-tcp", 80, "http")]);
        assert_eq!(beside(&network, &pods, first), both);
        assert_eq!(beside(&network, &pods, both.clone()), both);
        // And back again, before the pods have come anywhere.
        let back = json!({"name": "HTTP", "port": 80});
        let swapped = json!([
            port("port", 80, "http"),
            port("port-8080-tcp", 8080, "http")
        ]);
        assert_eq!(beside(&back, &pods, both), swapped);
    }

    #[test]
    fn two_protocols_of_one_number_stand_side_by_side() {
        let network = json!({"name": "dns", "port": 53});
        let udp =
            |name: &str| json!({"name": name, "port": 53, "targetPort": "dns", "protocol": "UDP"});
        assert_eq!(
            beside(&network, &json!([]), json!([udp("port")])),
            json!([port("port", 53, "dns"), udp("port-53-udp")])
        );
    }

    #[test]
    fn ports_of_others_are_theirs() {
        let network = json!({"name": "HTTP", "port": 80});
        let only = json!([port("port", 80, "http")]);
        let found = json!([port("port", 80, "http"), port("debug", 9229, 9229)]);
        assert_eq!(beside(&network, &json!([]), found), only);
    }
}
