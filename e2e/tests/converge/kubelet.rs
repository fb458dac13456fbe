//! Plays the kubelet and the ingress controller: every pod is ready at once, or done if it has to end,
//! the pods of a tunnel's connector are connectors, and every Ingress has an address.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::outside::Outside;
use crate::world::TUNNELS;

const EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn play(client: Client, outside: Arc<Outside>) {
    loop {
        // Whatever fails is looked at again.
        drop(pods(&client).await);
        drop(ingresses(&client, &outside).await);
        drop(connectors(&client, &outside).await);
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

async fn ingresses(client: &Client, outside: &Outside) -> Result<()> {
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
        let address = json!({"ip": outside.application});
        let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": [address]}}}));
        drop(
            api.patch_status(&ingress.name_any(), &PatchParams::default(), &patch)
                .await,
        );
    }
    Ok(())
}

/// The pods of connectors take the token from the Secret that has the Deployment's name.
async fn connectors(client: &Client, outside: &Outside) -> Result<()> {
    let everything = ListParams::default();
    let deployments = Api::<Deployment>::namespaced(client.clone(), TUNNELS);
    let secrets = Api::<Secret>::namespaced(client.clone(), TUNNELS)
        .list(&everything)
        .await?;

    let mut tokens = Vec::new();
    for deployment in deployments.list(&everything).await? {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let secret = secrets
            .items
            .iter()
            .find(|secret| secret.name_any() == deployment.name_any());
        let token = secret.and_then(|secret| secret.data.as_ref()?.get("token"));
        if let Some(token) = token.filter(|_token| replicas != Some(0)) {
            tokens.push(String::from_utf8(token.0.clone())?);
        }
    }
    outside.connect(tokens).await
}
