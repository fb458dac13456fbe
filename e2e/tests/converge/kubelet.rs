//! Plays the kubelet and the ingress controller: every pod is ready at once, or done if it has to end,
//! and every Ingress has an address.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

const EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn play(client: Client) {
    loop {
        // Whatever fails is looked at again.
        drop(pods(&client).await);
        drop(ingresses(&client).await);
        tokio::time::sleep(EVERY).await;
    }
}

async fn pods(client: &Client) -> Result<()> {
    let pending = ListParams::default().fields("status.phase=Pending");
    for pod in Api::<Pod>::all(client.clone()).list(&pending).await? {
        let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let status = Patch::Merge(json!({"status": status(&pod)}));
        drop(
            api.patch_status(&pod.name_any(), &PatchParams::default(), &status)
                .await,
        );
    }
    Ok(())
}

fn status(pod: &Pod) -> Value {
    let now = jiff::Timestamp::now();
    let spec = pod.spec.clone().unwrap_or_default();
    let ends = spec.restart_policy.as_deref() != Some("Always");
    let state = if ends {
        json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}})
    } else {
        json!({"running": {"startedAt": now}})
    };
    let containers = spec.containers.iter().map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "ready": !ends,
            "started": !ends, "restartCount": 0, "state": state,
        })
    });
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(|kind| {
        json!({"type": kind, "status": if ends { "False" } else { "True" }, "lastTransitionTime": now})
    });
    json!({
        "phase": if ends { "Succeeded" } else { "Running" }, "startTime": now,
        "conditions": conditions, "containerStatuses": containers.collect::<Vec<_>>(),
    })
}

async fn ingresses(client: &Client) -> Result<()> {
    let all = Api::<Ingress>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let without = |found: &Ingress| {
        let status = found.status.as_ref();
        let balancer = status.and_then(|status| status.load_balancer.as_ref());
        balancer.is_none_or(|balancer| balancer.ingress.iter().flatten().next().is_none())
    };
    for ingress in all.into_iter().filter(without) {
        let namespace = ingress.namespace().unwrap_or_default();
        let api = Api::<Ingress>::namespaced(client.clone(), &namespace);
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}});
        let patch = Patch::Merge(status);
        drop(
            api.patch_status(&ingress.name_any(), &PatchParams::default(), &patch)
                .await,
        );
    }
    Ok(())
}
