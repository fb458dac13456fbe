//! By which name a network's port is found in pods. A Service that goes by it finds the right port of
//! every pod, whatever number that pod's revision has: while pods of two revisions serve, and for as
//! long as the newer one is held back.

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sequencer_api::component::{ComponentTemplate, Network, Protocol};

use super::is_job;

/// A template's pods, in which the ports of its networks have names. A Job's have none but their
/// own: it is not run again for it.
pub(super) fn named(template: &ComponentTemplate) -> PodSpec {
    let mut pod = template.template.clone();
    if is_job(template) {
        return pod;
    }

    for network in &template.networks {
        let IntOrString::Int(number) = network.target_port() else {
            continue;
        };
        let Some(name) = wanted(network, &pod) else {
            continue;
        };

        let containers = pod.containers.iter_mut();
        let mut ports = containers.flat_map(|container| container.ports.iter_mut().flatten());
        if let Some(port) = ports.find(|port| is_of(port, number, network.protocol)) {
            port.name.get_or_insert(name);
        } else if let Some(first) = pod.containers.first_mut() {
            first.ports.get_or_insert_default().push(ContainerPort {
                name: Some(name),
                container_port: number,
                protocol: Some(network.protocol.as_str().into()),
                ..ContainerPort::default()
            });
        }
    }
    pod
}

/// What a Service of a network goes by: the port's name in these pods, else its number.
pub(super) fn target(network: &Network, pod: &PodSpec) -> IntOrString {
    let target = network.target_port();
    let IntOrString::Int(number) = target else {
        return target;
    };
    let containers = pod.containers.iter();
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| is_of(port, number, network.protocol));
    let name = port.and_then(|port| port.name.clone());
    name.map_or(target, IntOrString::String)
}

/// The number of a named port in a pod.
pub(super) fn number(pod: &PodSpec, name: &str) -> Option<i32> {
    let containers = pod.containers.iter();
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    Some(port.container_port)
}

/// The network's own name in the form of a port's (Kubernetes, `IANA_SVC_NAME`), if it can have it
/// and no port has it that is another.
fn wanted(network: &Network, pod: &PodSpec) -> Option<String> {
    let name = network.name.to_ascii_lowercase();
    let init = pod.init_containers.iter().flatten();
    let mut ports = init
        .chain(&pod.containers)
        .flat_map(|container: &Container| container.ports.iter().flatten());
    let is_taken = ports.any(|port| port.name.as_ref() == Some(&name));
    (!is_taken && !name.contains("--")).then_some(name)
}

fn is_of(port: &ContainerPort, number: i32, protocol: Protocol) -> bool {
    let by = port.protocol.as_deref().unwrap_or("TCP");
    port.container_port == number && by == protocol.as_str()
}
