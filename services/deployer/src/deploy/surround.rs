//! What surrounds the pods: Services, and the policies that let others in.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt as _;
use sequencer_api::labels::REVISION;

use crate::apply::Apply;
use crate::error::Error;
use crate::plan::{Plan, View, policies, service_beside};
use crate::read;
use crate::service::Service;

/// The pods that may serve.
#[derive(Default)]
pub(super) struct Pods {
    specs: Vec<PodSpec>,
    /// Whether one of them is not as planned.
    is_mixed: bool,
}

impl Service {
    /// The pods of a Component that may serve, of whatever revision; those too that were asked to
    /// stop, and go on answering for a moment.
    pub(super) async fn serving(&self, view: &View, plan: &Plan) -> Result<Pods, Error> {
        let planned = plan.workload.as_ref().ok();
        let planned = planned.map(|workload| &workload.revision);
        let is_over = |pod: &Pod| {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };

        let pods = read::pods(self.client(), view).await?;
        let pods: Vec<_> = pods.into_iter().filter(|pod| !is_over(pod)).collect();
        let is_planned = |pod: &Pod| pod.annotations().get(REVISION) == planned;
        let is_mixed = !pods.iter().all(is_planned);
        Ok(Pods {
            specs: pods.into_iter().filter_map(|pod| pod.spec).collect(),
            is_mixed,
        })
    }

    /// Makes Services and NetworkPolicies beside these pods, and returns whether they are as planned
    /// then.
    pub(super) async fn surround(
        &self,
        view: &View,
        apply: &Apply,
        plan: &Plan,
        pods: &Pods,
    ) -> Result<bool, Error> {
        let mut is_planned = !pods.is_mixed;
        let networks = view.template().networks.iter();
        for (planned, network) in plan.services.iter().zip(networks) {
            let found = apply.get(planned).await?;
            let standing = found.as_ref().filter(|_found| pods.is_mixed);
            let object = service_beside(planned, network, &pods.specs, standing);
            is_planned &= object.revision() == planned.revision();
            apply.write(&object, found).await?;
        }

        for object in &policies(view, self.settings(), &pods.specs)? {
            let found = apply.get(object).await?;
            if found.is_some() || object.owner() == view.uid() {
                apply.write(object, found).await?;
            } else {
                let _first = self.shared().lock().await;
                apply.ensure(object).await?;
            }
        }
        Ok(is_planned)
    }
}
