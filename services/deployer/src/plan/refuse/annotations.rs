//! Annotations of pods by which others act: the API server, container runtimes, and what runs on
//! nodes beside them.

use std::collections::BTreeMap;

use sequencer_api::code::Code;
use sequencer_api::host::Refusal;

use crate::args::PodSecurity;

/// What an annotation's key begins with that sets a container's AppArmor profile. The API server
/// takes it for the field where that is not set.
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What keys begin with by which a pod gets an identity, a network, a device or a container that is
/// not its own.
pub(super) const ACTING: [&str; 14] = [
    // kube2iam and kiam: a role at AWS.
    "iam.amazonaws.com/",
    // Multus: more networks.
    "k8s.v1.cni.cncf.io/",
    "v1.multus-cni.io/",
    // Calico: addresses.
    "cni.projectcalico.org/",
    // OVN-Kubernetes: networks and gateways.
    "k8s.ovn.org/",
    // containerd and CRI-O: devices (Container Device Interface, "Annotations"), and whatever CRI-O
    // and Kata Containers let pods set.
    "cdi.k8s.io/",
    "io.kubernetes.cri-o.",
    "io.katacontainers.",
    // Linkerd and Istio: images, and volumes, of privileged containers that they add.
    "config.linkerd.io/",
    "config.alpha.linkerd.io/",
    "config.beta.linkerd.io/",
    "sidecar.istio.io/",
    "inject.istio.io/",
    "proxy.istio.io/",
];

/// Whether a sidecar is added is no such thing.
const INJECT: &str = "sidecar.istio.io/inject";

/// # Errors
/// One of these is not allowed under a level.
pub(super) fn check(
    annotations: &BTreeMap<String, String>,
    level: PodSecurity,
) -> Result<(), Refusal> {
    let mut annotations = annotations.iter();
    let found = annotations.find(|(key, value)| is_unconfined(key, value) || acts(key));

    found.map_or(Ok(()), |(key, _value)| {
        let message = format!("podMetadata.annotations: {key}: not allowed under {level:?}");
        Err(Refusal::new(Code::PrivilegeForbidden, message))
    })
}

fn is_unconfined(key: &str, profile: &str) -> bool {
    let is_confined =
        ["", "runtime/default"].contains(&profile) || profile.starts_with("localhost/");
    key.starts_with(APP_ARMOR) && !is_confined
}

fn acts(key: &str) -> bool {
    key != INJECT && ACTING.iter().any(|prefix| key.starts_with(prefix))
}
