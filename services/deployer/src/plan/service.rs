//! One Service for each network.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sequencer_api::code::Code;
use sequencer_api::component::Network;
use sequencer_api::labels::NETWORK;
use sequencer_api::status::component::DeployedService;
use serde_json::json;

use super::{Object, View, labels, service_name};
use crate::args::Settings;
use crate::error::Error;
use sequencer_api::host::Refusal;

/// The name of a Service's port, by which Ingresses go, whatever number it has. It says nothing else:
/// what controllers read in names, such as `https`, nobody meant.
pub(crate) const PORT: &str = "port";

pub(super) fn services(view: &View, settings: &Settings) -> Result<Vec<Object>, Error> {
    view.template()
        .networks
        .iter()
        .map(|network| service(view, settings, network))
        .collect()
}

fn service(view: &View, settings: &Settings, network: &Network) -> Result<Object, Error> {
    if let Some(IntOrString::String(port)) = &network.target_port
        && !has_port(view, port)
    {
        let message = format!(
            "networks[{}].targetPort: no container has a port {port:?}",
            network.name
        );
        return Err(Refusal::new(Code::TargetPortUnknown, message).into());
    }
    let name = network.name.to_ascii_lowercase();
    let mut labels = labels::of_component(view, settings);
    labels.insert(NETWORK.into(), name.clone());
    let mut port = json!({
        "name": PORT, "port": network.port, "targetPort": network.target_port(), "protocol": network.protocol,
    });
    if let (Some(protocol), Some(port)) = (&network.app_protocol, port.as_object_mut()) {
        port.insert("appProtocol".into(), protocol.clone().into());
    }
    let component = &view.template().name;
    let name = service_name(view, component, &network.name);
    let body = json!({
        "metadata": labels::metadata(view, &name, &labels)?,
        "spec": {"type": "ClusterIP", "selector": labels::selector(view, component), "ports": [port]},
    });
    Ok(Object::new::<Service>(body))
}

fn has_port(view: &View, name: &str) -> bool {
    let pod = &view.template().template;
    let containers = pod
        .containers
        .iter()
        .chain(pod.init_containers.iter().flatten());

    containers
        .flat_map(|container| container.ports.iter().flatten())
        .any(|port| port.name.as_deref() == Some(name))
}

/// The Services as the status lists them.
pub(super) fn deployed(view: &View) -> Vec<DeployedService> {
    let component = &view.template().name;
    let networks = view.template().networks.iter();

    networks
        .map(|network| {
            let name = service_name(view, component, &network.name);
            let host = host(view, component, &network.name);

            DeployedService {
                network: network.name.clone(),
                name,
                host,
                port: network.port,
            }
        })
        .collect()
}

/// The host of a component's network.
pub(super) fn host(view: &View, component: &str, network: &str) -> String {
    format!(
        "{}.{}.svc",
        service_name(view, component, network),
        view.namespace()
    )
}
