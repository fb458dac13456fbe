//! What a planned object is.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Resource as _;
use sequencer_runtime::apply::Object;

/// Whether it is a Deployment.
#[must_use]
pub fn is_deployment(object: &Object) -> bool {
    object.resource.kind == Deployment::kind(&())
}
