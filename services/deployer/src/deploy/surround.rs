//! What surrounds the pods: Services, and the policies that let others in.

use crate::apply::Apply;
use crate::error::Error;
use crate::plan::{Earlier, Plan, Serving, View, policies, service_beside, targets};
use crate::read;
use crate::service::Service;

impl Service {
    /// The pods of a Component, by what their user wrote.
    pub(super) async fn serving(&self, view: &View, plan: &Plan) -> Result<Serving, Error> {
        let planned = plan.workload.as_ref().ok();
        let pods = read::pods(self.client(), view).await?;
        Ok(Serving::of(
            &pods,
            planned.map(|workload| &workload.revision),
        ))
    }

    /// Makes Services and NetworkPolicies beside these pods, and returns whether they are as planned
    /// then.
    pub(super) async fn surround(
        &self,
        view: &View,
        apply: &Apply,
        plan: &Plan,
        serving: &Serving,
    ) -> Result<bool, Error> {
        let mut earlier = Earlier::new();
        let networks = view.template().networks.iter();
        for (planned, network) in plan.services.iter().zip(networks) {
            let found = apply.get(planned).await?;
            let object = service_beside(planned, found.as_ref(), serving);
            if let Some(found) = found
                .as_ref()
                .filter(|_| object.revision() != planned.revision())
            {
                earlier.insert(network.name.clone(), targets(found));
            }
            apply.write(&object, found).await?;
        }

        for object in &policies(view, self.settings(), &earlier)? {
            let found = apply.get(object).await?;
            if found.is_some() || object.owner() == view.uid() {
                apply.write(object, found).await?;
            } else {
                let _first = self.shared().lock().await;
                apply.ensure(object).await?;
            }
        }
        Ok(earlier.is_empty())
    }
}
