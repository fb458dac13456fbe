//! A Service while pods of an older revision serve.

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::DynamicObject;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Object, ports};

/// Where a Service has its ports.
const PORTS: &str = "/spec/ports";

/// How the name of a port begins that a Service had before.
const BEFORE: &str = "before-";

/// The most ports that a Service keeps.
const MOST: usize = 8;

/// The Service as it has to be while not all pods are of the planned template. It goes by a port's
/// name only if it did before: then all pods have it. The port that it had stays open, for those
/// who were told of that one.
pub(crate) fn service(
    planned: &Object,
    found: Option<&DynamicObject>,
    workload: &Object,
) -> Object {
    let found = found.map(|found| of(&found.data)).unwrap_or_default();
    let wanted = of(&planned.body).into_iter().map(|port| ServicePort {
        target_port: target(&port, &found, workload),
        ..port
    });
    let wanted: Vec<_> = wanted.collect();

    let is_wanted = |port: &ServicePort| {
        let mut wanted = wanted.iter();
        wanted.any(|other| (other.port, &other.protocol) == (port.port, &port.protocol))
    };
    let is_ours = |port: &ServicePort| {
        let mut wanted = wanted.iter();
        let name = port.name.as_deref().unwrap_or_default();
        name.starts_with(BEFORE) || wanted.any(|other| other.name.as_deref() == Some(name))
    };
    let kept = found
        .iter()
        .filter(|port| is_ours(port) && !is_wanted(port));
    let kept = kept.take(MOST).map(|port| ServicePort {
        name: Some(format!("{BEFORE}{}", port.port)),
        port: port.port,
        protocol: port.protocol.clone(),
        target_port: port.target_port.clone(),
        ..ServicePort::default()
    });
    let ports: Vec<_> = wanted.iter().cloned().chain(kept).collect();
    planned.with(PORTS, json!(ports))
}

/// By its name as long as that is what the Service goes by, else by its number.
fn target(wanted: &ServicePort, found: &[ServicePort], workload: &Object) -> Option<IntOrString> {
    let Some(IntOrString::String(name)) = &wanted.target_port else {
        return wanted.target_port.clone();
    };
    let goes_by_it = found
        .iter()
        .any(|port| port.name == wanted.name && port.target_port == wanted.target_port);
    let template = workload.body.pointer("/spec/template");
    let number = template.and_then(|template| ports::number(template, name));
    let number = number.filter(|_number| !goes_by_it);
    number
        .map(IntOrString::Int)
        .or_else(|| wanted.target_port.clone())
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

    /// The ports of the Service of a component whose network goes from one port to another while it
    /// is rolled out.
    fn rolling(port: u16, found: Option<Value>) -> Value {
        let view = view("click-mania", |spec| {
            spec["components"][2]["networks"] = json!([{"name": "HTTP", "port": port}]);
        });
        let plan = planned(&view, &settings(&[])).unwrap();
        let found = found.map(|ports| {
            let resource = ApiResource::erase::<Service>(&());
            DynamicObject::new("x", &resource).data(json!({"spec": {"ports": ports}}))
        });
        let workload = plan.workload.unwrap().object;
        let service = service(&plan.services[0], found.as_ref(), &workload);
        service.body["spec"]["ports"].clone()
    }

    fn port(name: &str, port: u16, target: impl Into<Value>) -> Value {
        json!({"name": name, "port": port, "targetPort": target.into(), "protocol": "TCP"})
    }

    #[test]
    fn a_service_goes_by_the_name_that_all_pods_have_and_keeps_its_port() {
        let named = json!([port("http", 80, "http")]);
        let both = json!([port("http", 8080, "http"), port("before-80", 80, "http")]);
        assert_eq!(rolling(8080, Some(named)), both);
        assert_eq!(rolling(8080, Some(both.clone())), both);
        // And back again, before the pods have come anywhere.
        assert_eq!(
            rolling(80, Some(both)),
            json!([port("http", 80, "http"), port("before-8080", 8080, "http")])
        );
    }

    #[test]
    fn a_service_goes_by_number_until_all_pods_have_the_name() {
        let numbered = json!([port("http", 80, 80)]);
        assert_eq!(rolling(80, Some(numbered.clone())), numbered);
        assert_eq!(rolling(80, None), numbered);
    }

    #[test]
    fn ports_of_others_are_theirs() {
        let others = json!([port("http", 80, "http"), port("debug", 9229, 9229)]);
        assert_eq!(rolling(80, Some(others)), json!([port("http", 80, "http")]));
    }
}
