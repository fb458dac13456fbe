//! What surrounds the pods: Services, and the policies that let others in.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DynamicObject;
use serde::Deserialize as _;
use serde_json::Value;

use crate::apply::{Apply, revision};
use crate::error::Error;
use crate::plan::{Object, Plan, View, Workload, is_deployment, policies, rolling_service};
use crate::read;
use crate::readiness::is_rolled_out;
use crate::service::Service;

/// A roll-out that is not done: pods of an older revision may serve.
pub(super) struct Rolling<'a> {
    /// What is planned to run.
    workload: &'a Object,
    /// The pods that are there.
    pods: Vec<Value>,
}

impl Service {
    /// The roll-out of what was found; none if there is nothing, or if all of it is as planned.
    pub(super) async fn rolling<'a>(
        &self,
        view: &View,
        workload: &'a Workload,
        found: Option<&DynamicObject>,
        is_settled: bool,
    ) -> Result<Option<Rolling<'a>>, Error> {
        let Some(found) = found.filter(|_found| !is_settled && is_deployment(&workload.object))
        else {
            return Ok(None);
        };

        let found = serde_json::to_value(found)?;
        let is_planned = revision(&found) == Some(&workload.revision);
        if is_planned && is_rolled_out(&Deployment::deserialize(&found)?) {
            return Ok(None);
        }

        let pods = read::pods(self.client(), view).await?;
        let pods: Result<_, _> = pods.iter().map(serde_json::to_value).collect();
        Ok(Some(Rolling {
            workload: &workload.object,
            pods: pods?,
        }))
    }

    /// Makes Services and NetworkPolicies.
    pub(super) async fn surround(
        &self,
        view: &View,
        apply: &Apply,
        plan: &Plan,
        rolling: Option<&Rolling<'_>>,
    ) -> Result<(), Error> {
        for planned in &plan.services {
            let found = apply.get(planned).await?;
            let object = rolling.map_or_else(
                || planned.clone(),
                |rolling| rolling_service(planned, found.as_ref(), rolling.workload),
            );
            apply.write(&object, found).await?;
        }

        let open = match rolling {
            Some(rolling) => &policies(view, self.settings(), &rolling.pods)?,
            None => &plan.policies,
        };
        for object in open {
            let found = apply.get(object).await?;
            if found.is_some() || object.owner() == view.uid() {
                apply.write(object, found).await?;
            } else {
                let _first = self.shared().lock().await;
                apply.ensure(object).await?;
            }
        }
        Ok(())
    }
}
