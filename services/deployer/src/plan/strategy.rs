//! The Deployment or Job around a pod.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::used::Used;
use super::{Object, View, Workload, claims, is_job, labels};
use crate::args::Settings;
use crate::error::Error;

/// A container without a probe is up as soon as it is started, even if it ends at once: it has to
/// stay this long.
const STAY: i32 = 3;

/// How long proxies may take to follow a Service that turns from the pods of one revision to those
/// of another.
const TURN: i64 = 5;

const STAYS: &str = "/spec/minReadySeconds";

impl Workload {
    /// The same as long as Services have to turn to its pods: until they have, those that serve are
    /// not ended.
    pub(crate) fn while_turning(&self) -> Self {
        let stay = self.object.body.pointer(STAYS).and_then(Value::as_i64);
        let mut workload = self.clone();
        if let Some(stay) = stay {
            workload.object = self.object.with(STAYS, json!(stay.max(TURN)));
        }
        workload
    }
}

pub(super) fn workload(
    view: &View,
    settings: &Settings,
    template: PodTemplateSpec,
    used: &Used,
) -> Result<Object, Error> {
    let labels = labels::of_workload(view, settings, used);
    let metadata = labels::metadata(view, view.name(), &labels)?;
    if is_job(view.template()) {
        let body = json!({"metadata": metadata, "spec": {"template": template}});
        return Ok(Object::fixed::<Job>(body));
    }
    let component = view.template();
    let spec = json!({
        "replicas": component.replicas,
        "selector": {"matchLabels": labels::selector(view, &component.name)},
        "strategy": strategy(view),
        "progressDeadlineSeconds": component.progress_deadline_seconds,
        "minReadySeconds": stay(&template),
        "template": template,
    });
    let body = json!({"metadata": metadata, "spec": spec});
    Ok(Object::new::<Deployment>(body).leaving(&["/spec/replicas"]))
}

fn stay(template: &PodTemplateSpec) -> i32 {
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    if containers
        .into_iter()
        .all(|container| container.readiness_probe.is_some())
    {
        0
    } else {
        STAY
    }
}

fn strategy(view: &View) -> Value {
    match &view.template().strategy {
        Some(strategy) => json!(strategy),
        None if claims::exclusive(view) => json!({"type": "Recreate"}),
        None => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        }
    }
}
