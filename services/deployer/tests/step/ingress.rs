//! The Ingress of a Workspace.

use anyhow::Result;
use k8s_openapi::api::networking::v1::Ingress;
use sequencer_api::Workspace;
use sequencer_api::status::State;
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::scene::{Scene, owner, plain, until};

async fn workspace(scene: &Scene, ingress: Value) -> Result<Workspace> {
    let networking = json!({"dns": {"zone": "preview.test"}, "ingress": ingress});
    let mut component = plain()[2].clone();
    component["template"]["containers"][0].as_object_mut().unwrap().remove("env");
    let workspace = scene.workspace_with(json!({"components": [component], "networking": networking})).await?;
    let host = format!("{}.preview.test", scene.namespace());
    scene.status(&workspace, json!({"host": host})).await
}

async fn section(scene: &Scene, workspace: &Workspace, check: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut found = Value::Null;
    let name = workspace.metadata.name.as_deref().unwrap();
    until("the ingress section is as it should be", async || {
        let status = scene.api::<Workspace>().get(name).await?.status.unwrap_or_default();
        found = json!(status.ingress);
        anyhow::ensure!(check(&found), "it is {found:#}");
        Ok(true)
    })
    .await?;
    Ok(found)
}

async fn wake(scene: &Scene, workspace: &Workspace) -> Result<Outcome> {
    let (name, uid) = (workspace.metadata.name.as_deref().unwrap(), workspace.metadata.uid.as_deref().unwrap());
    scene.wake(Verb::Ingress, workspace, name, uid).await
}

fn rules() -> Value {
    json!([
        {"name": "main", "component": "click-mania", "network": "http"},
        {"name": "admin", "component": "click-mania", "network": "http", "subdomain": "admin"},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_answers_through_the_clusters_ingress() -> Result<()> {
    let scene = Scene::new("ingress").await?;
    let workspace = workspace(&scene, json!({"className": "traefik", "rules": rules()})).await?;
    scene.deploy(&workspace, "click-mania").await?;
    assert_eq!(wake(&scene, &workspace).await?, Outcome::Done);
    let section = section(&scene, &workspace, |section| section["state"] == json!(State::Completed)).await?;
    assert_eq!(section["className"], "traefik");
    assert!(section["addresses"][0]["ip"].is_string(), "{section:#}");
    let host = format!("{}.preview.test", scene.namespace());
    assert_eq!(
        (&section["rules"][0]["host"], &section["rules"][1]["host"]),
        (&json!(host), &json!(format!("admin-{host}")))
    );
    for host in [host.clone(), format!("admin-{host}")] {
        until("the ingress serves", async || Ok(scene.cluster.curl_ingress("https", &host, "/").is_ok())).await?;
    }
    let name = owner(&workspace).ingress();
    let version = scene.api::<Ingress>().get(&name).await?.metadata.resource_version;
    assert_eq!(wake(&scene, &workspace).await?, Outcome::Done);
    assert_eq!(scene.api::<Ingress>().get(&name).await?.metadata.resource_version, version);

    // What a person deletes is made again, and what is not asked for any more goes.
    scene.cluster.kubectl(&["delete", "ingress", &name])?;
    until("it is made again", async || Ok(scene.api::<Ingress>().get_opt(&name).await?.is_some())).await?;
    let patch = json!([{"op": "remove", "path": "/spec/networking"}]);
    scene.cluster.kubectl(&["patch", "workspace", "shop", "--type=json", "-p", &patch.to_string()])?;
    wake(&scene, &workspace).await?;
    let gone = self::section(&scene, &workspace, |section| section["state"] == json!(State::Gone)).await?;
    assert!(gone.get("name").is_none() && gone.get("addresses").is_none(), "{gone:#}");
    until("it is gone", async || Ok(scene.api::<Ingress>().get_opt(&name).await?.is_none())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_ingress_may_not_ask_for_has_its_code() -> Result<()> {
    let scene = Scene::still("ingress-bad").await?;
    let annotations = json!({"nginx.ingress.kubernetes.io/server-snippet": "x"});
    let workspace = workspace(&scene, json!({"rules": rules(), "annotations": annotations})).await?;
    let code = async || -> Result<Value> {
        wake(&scene, &workspace).await?;
        let error = |section: &Value| section["state"] == json!(State::Error);
        Ok(section(&scene, &workspace, error).await?["retry"]["code"].clone())
    };
    assert_eq!(code().await?, "E#6065");
    let change = |ingress: Value| -> Result<String> {
        let patch = json!([{"op": "replace", "path": "/spec/networking/ingress", "value": ingress}]);
        scene.cluster.kubectl(&["patch", "workspace", "shop", "--type=json", "-p", &patch.to_string()])
    };
    change(json!({"rules": rules(), "loadBalancerRef": {"name": "nowhere"}}))?;
    assert_eq!(code().await?, "E#3013");
    change(json!({"rules": rules(), "gatewayRef": {"name": "public"}}))?;
    assert_eq!(code().await?, "E#3014");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_named_load_balancer_is_taken() -> Result<()> {
    let scene = Scene::still("balancer").await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    });
    scene.cluster.apply(&service)?;
    let workspace = workspace(&scene, json!({"rules": rules(), "loadBalancerRef": {"name": "front"}})).await?;
    wake(&scene, &workspace).await?;
    // It has no address yet; this is written after a while only.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}});
    let patch = ["patch", "service", "front", "--subresource=status", "--type=merge", "-p", &status.to_string()];
    scene.cluster.kubectl(&patch)?;
    wake(&scene, &workspace).await?;
    let section = section(&scene, &workspace, |section| section["state"] == json!(State::Completed)).await?;
    assert_eq!(section["addresses"], json!([{"hostname": "lb.example"}]));
    Ok(())
}
