//! What was made for a Component and is not planned any more goes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use kube::api::ApiResource;

use super::section;
use crate::apply::Apply;
use crate::error::Error;
use crate::plan::{Object, Plan, View, Workload, is_job};
use crate::read;

/// Deletes the NetworkPolicies that are not planned any more.
pub(super) async fn close(view: &View, apply: &Apply, plan: &Plan) -> Result<(), Error> {
    if let Some(object) = &plan.unwanted {
        apply.remove(object).await?;
    }
    delete::<NetworkPolicy>(view, apply, &plan.policies).await
}

/// Deletes what else was made for this Component and is not planned any more.
pub(super) async fn tidy(
    view: &View,
    apply: &Apply,
    plan: &Plan,
    workload: &Workload,
) -> Result<(), Error> {
    let before = section::before(view);
    let kind = workload.object.resource.kind.as_str();
    // What was started last need not be recorded yet.
    if before.kind.as_deref() != Some(kind) {
        let resource = if is_job(view.template()) {
            ApiResource::erase::<Deployment>(&())
        } else {
            ApiResource::erase::<Job>(&())
        };

        let other = Object {
            resource,
            ..workload.object.clone()
        };

        if let Ok(Some(found)) = apply.get(&other).await {
            apply.delete(&other.resource, &found).await?;
        }
    }

    delete::<Service>(view, apply, &plan.services).await
}

/// Deletes the objects of a kind that belong to this Component and are not planned.
async fn delete<K>(view: &View, apply: &Apply, planned: &[Object]) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let kind = ApiResource::erase::<K>(&());
    let planned = |name: &str| planned.iter().any(|object| object.name() == name);

    let labels = read::of_component(view.name());
    for found in apply.list(&kind, &labels, view.uid()).await? {
        if !found.metadata.name.as_deref().is_some_and(planned) {
            apply.delete(&kind, &found).await?;
        }
    }

    Ok(())
}
