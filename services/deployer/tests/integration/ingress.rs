//! The Ingress of a Workspace.

use anyhow::Result;
use k8s_openapi::api::networking::v1::Ingress;
use sequencer_api::Workspace;
use sequencer_api::status::State;
use serde_json::{Value, json};

use crate::harness::{Harness, Held, owner, plain, until};

/// A Workspace whose hosts nobody holds yet.
async fn unheld(harness: &Harness, ingress: Value) -> Result<Workspace> {
    let networking = json!({"dns": {"zone": "preview.test"}, "ingress": ingress});
    let mut component = plain()[2].clone();
    component["template"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("env");

    harness
        .workspace_with(json!({"components": [component], "networking": networking}))
        .await
}

async fn workspace(harness: &Harness, ingress: Value) -> Result<(Workspace, Vec<Held>)> {
    let workspace = unheld(harness, ingress).await?;
    let held = hold(harness, &workspace)?;
    Ok((workspace, held))
}

fn hold(harness: &Harness, workspace: &Workspace) -> Result<Vec<Held>> {
    let uid = workspace.metadata.uid.as_deref().unwrap();
    workspace
        .hosts("test")
        .iter()
        .map(|host| harness.hold(host, uid))
        .collect()
}

async fn section(
    harness: &Harness,
    workspace: &Workspace,
    check: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut found = Value::Null;
    let name = workspace.metadata.name.as_deref().unwrap();

    until("the ingress section is as it should be", async || {
        let status = harness
            .api::<Workspace>()
            .get(name)
            .await?
            .status
            .unwrap_or_default();
        found = json!(status.ingress);
        anyhow::ensure!(check(&found), "it is {found:#}");
        Ok(true)
    })
    .await?;
    Ok(found)
}

fn rules() -> Value {
    json!([
        {"name": "main", "component": "click-mania", "network": "http"},
        {"name": "admin", "component": "click-mania", "network": "http", "subdomain": "admin"},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_answers_through_the_clusters_ingress() -> Result<()> {
    let harness = Harness::new("ingress").await?;
    let (workspace, _held) =
        workspace(&harness, json!({"className": "traefik", "rules": rules()})).await?;
    harness.deploy(&workspace, "click-mania").await?;
    harness.expose(&workspace).await?;

    let section = section(&harness, &workspace, |section| {
        section["state"] == json!(State::Completed)
    })
    .await?;
    assert_eq!(section["className"], "traefik");
    assert!(section["addresses"][0]["ip"].is_string(), "{section:#}");
    let host = workspace.host("test").unwrap();
    assert_eq!(
        (&section["rules"][0]["host"], &section["rules"][1]["host"]),
        (&json!(host), &json!(format!("admin-{host}")))
    );

    for host in [host.clone(), format!("admin-{host}")] {
        until("the ingress serves", async || {
            Ok(harness.cluster.curl_ingress("https", &host, "/").is_ok())
        })
        .await?;
    }

    let name = owner(&workspace).ingress();
    let version = harness
        .api::<Ingress>()
        .get(&name)
        .await?
        .metadata
        .resource_version;

    harness.expose(&workspace).await?;
    assert_eq!(
        harness
            .api::<Ingress>()
            .get(&name)
            .await?
            .metadata
            .resource_version,
        version
    );

    // What a person deletes is made again, and what is not asked for any more goes.
    harness.cluster.kubectl(&["delete", "ingress", &name])?;
    until("it is made again", async || {
        Ok(harness.api::<Ingress>().get_opt(&name).await?.is_some())
    })
    .await?;

    let patch = json!([{"op": "remove", "path": "/spec/networking"}]);
    harness.cluster.kubectl(&[
        "patch",
        "workspace",
        "shop",
        "--type=json",
        "-p",
        &patch.to_string(),
    ])?;
    harness.expose(&workspace).await?;

    let gone = self::section(&harness, &workspace, |section| {
        section["state"] == json!(State::Gone)
    })
    .await?;

    assert!(
        gone.get("name").is_none() && gone.get("addresses").is_none(),
        "{gone:#}"
    );

    until("it is gone", async || {
        Ok(harness.api::<Ingress>().get_opt(&name).await?.is_none())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_ingress_may_not_ask_for_has_its_code() -> Result<()> {
    let harness = Harness::still("ingress-bad").await?;
    let annotations = json!({"nginx.ingress.kubernetes.io/server-snippet": "x"});
    let (workspace, _held) = workspace(
        &harness,
        json!({"rules": rules(), "annotations": annotations}),
    )
    .await?;
    let code = async || -> Result<Value> {
        harness.expose(&workspace).await?;
        let error = |section: &Value| section["state"] == json!(State::Error);
        Ok(section(&harness, &workspace, error).await?["retry"]["code"].clone())
    };

    assert_eq!(code().await?, "E#6065");

    let change = |ingress: Value| -> Result<String> {
        let patch =
            json!([{"op": "replace", "path": "/spec/networking/ingress", "value": ingress}]);
        harness.cluster.kubectl(&[
            "patch",
            "workspace",
            "shop",
            "--type=json",
            "-p",
            &patch.to_string(),
        ])
    };

    change(json!({"rules": rules(), "loadBalancerRef": {"name": "nowhere"}}))?;
    assert_eq!(code().await?, "E#3013");
    change(json!({"rules": rules(), "gatewayRef": {"name": "public"}}))?;
    assert_eq!(code().await?, "E#3014");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_named_load_balancer_is_taken() -> Result<()> {
    let harness = Harness::still("balancer").await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    });
    harness.cluster.apply(&service)?;
    let (workspace, _held) = workspace(
        &harness,
        json!({"rules": rules(), "loadBalancerRef": {"name": "front"}}),
    )
    .await?;
    harness.expose(&workspace).await?;
    // It has no address yet; this is written after a while only.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}});
    let patch = [
        "patch",
        "service",
        "front",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
    ];
    harness.cluster.kubectl(&patch)?;
    harness.expose(&workspace).await?;
    let section = section(&harness, &workspace, |section| {
        section["state"] == json!(State::Completed)
    })
    .await?;
    assert_eq!(section["addresses"], json!([{"hostname": "lb.example"}]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_at_a_host_that_is_not_held() -> Result<()> {
    let harness = Harness::still("ingress-lock").await?;
    let workspace = unheld(&harness, json!({"rules": rules()})).await?;
    let name = owner(&workspace).ingress();
    let served =
        async || -> Result<bool> { Ok(harness.api::<Ingress>().get_opt(&name).await?.is_some()) };

    harness.expose(&workspace).await?;
    assert!(!served().await?);

    let held = hold(&harness, &workspace)?;
    harness.expose(&workspace).await?;
    assert!(served().await?);

    // Nobody holds it any more, and then somebody else does.
    drop(held);
    harness.expose(&workspace).await?;
    until("it is gone", async || Ok(!served().await?)).await?;

    let others = harness.hold(
        &workspace.host("test").unwrap(),
        "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10",
    )?;

    harness.expose(&workspace).await?;

    let refused = section(&harness, &workspace, |section| {
        section["state"] == json!(State::Error)
    })
    .await?;

    assert_eq!(
        (&refused["retry"]["code"], refused.get("name")),
        (&json!("E#3020"), None)
    );
    assert!(!served().await?);

    drop(others);
    let _held = hold(&harness, &workspace)?;
    harness.expose(&workspace).await?;
    assert!(served().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_names_anothers_host_leaves_what_serves_alone_and_one_of_anothers_zone_has_its_code()
-> Result<()> {
    let harness = Harness::still("ingress-edit").await?;
    let (workspace, _held) = workspace(&harness, json!({"rules": rules()})).await?;
    let name = owner(&workspace).ingress();

    harness.expose(&workspace).await?;
    for (dns, code) in [
        (json!({"zone": "preview.test", "name": "login"}), "E#6051"),
        (json!({"zone": "bank.example", "name": "login"}), "E#6051"),
    ] {
        let patch = json!([{"op": "replace", "path": "/spec/networking/dns", "value": dns}]);
        harness.cluster.kubectl(&[
            "patch",
            "workspace",
            "shop",
            "--type=json",
            "-p",
            &patch.to_string(),
        ])?;
        harness.expose(&workspace).await?;
        let generation = harness
            .api::<Workspace>()
            .get("shop")
            .await?
            .metadata
            .generation;
        let refused = section(&harness, &workspace, |section| {
            section["observedGeneration"] == json!(generation)
        })
        .await?;
        assert_eq!(
            (&refused["state"], &refused["retry"]["code"]),
            (&json!(State::Error), &json!(code))
        );
        let ingress = harness.api::<Ingress>().get(&name).await?;
        let hosts: Vec<_> = ingress
            .spec
            .unwrap()
            .rules
            .unwrap()
            .into_iter()
            .filter_map(|rule| rule.host)
            .collect();
        assert_eq!(hosts.len(), 2);
        assert!(
            hosts.contains(&workspace.host("test").unwrap()),
            "{hosts:?}"
        );
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ingress_of_a_workspace_that_is_deleted_goes_before_its_host_is_let_go() -> Result<()> {
    let harness = Harness::still("ingress-end").await?;
    let (workspace, _held) = workspace(&harness, json!({"rules": rules()})).await?;
    let name = owner(&workspace).ingress();

    harness.expose(&workspace).await?;
    let finalizer = json!({"metadata": {"finalizers": ["se.quencer.io/workspace"]}}).to_string();
    harness.cluster.kubectl(&[
        "patch",
        "workspace",
        "shop",
        "--type=merge",
        "-p",
        &finalizer,
    ])?;

    harness
        .cluster
        .kubectl(&["delete", "workspace", "shop", "--wait=false"])?;
    harness.expose(&workspace).await?;
    section(&harness, &workspace, |section| {
        section["state"] == json!(State::Gone)
    })
    .await?;

    until("it is gone", async || {
        Ok(harness.api::<Ingress>().get_opt(&name).await?.is_none())
    })
    .await?;

    let free = json!({"metadata": {"finalizers": null}}).to_string();
    harness
        .cluster
        .kubectl(&["patch", "workspace", "shop", "--type=merge", "-p", &free])
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_stays_until_the_tunnel_that_takes_its_place_has_answered() -> Result<()> {
    let harness = Harness::still("ingress-left").await?;
    let (workspace, _held) = workspace(&harness, json!({"rules": rules()})).await?;
    let name = owner(&workspace).ingress();
    harness.expose(&workspace).await?;

    let tunnel = json!({"cloudflare": {
        "accountId": "0".repeat(32), "route": {"component": "click-mania", "network": "http"},
        "secretKeyRef": {"name": "token", "key": "apiKey"},
    }});
    let patch = json!([
        {"op": "remove", "path": "/spec/networking/ingress"},
        {"op": "add", "path": "/spec/networking/tunnel", "value": tunnel},
    ]);
    harness.patch("workspace", "shop", &patch)?;
    harness.expose(&workspace).await?;
    let all = harness.api::<Ingress>();
    assert!(all.get_opt(&name).await?.is_some());

    let found = harness.api::<Workspace>().get("shop").await?;
    let at =
        |state| json!({"rev": 1, "state": state, "observedGeneration": found.metadata.generation});
    let status = json!({"tunnel": at(State::Completed), "route": at(State::Healthy)});
    harness.patch_status("workspace", "shop", &status)?;
    harness.expose(&workspace).await?;
    until("it is gone", async || {
        Ok(all.get_opt(&name).await?.is_none())
    })
    .await
}
