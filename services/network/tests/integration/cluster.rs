//! The connector on the running cluster: real pods, a real kubelet, and the real garbage collector.

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};
use lab::layout::text;
use lab::testing::Harness;
use sequencer_api::Workspace;
use sequencer_api::names::Owner;
use sequencer_network::args::Args;
use sequencer_network::cloudflare::Cloudflare;
use sequencer_network::tunnel::cloudflare::Tunnels;
use sequencer_network::tunnel::configuration;
use sequencer_network::tunnel::connector::{API_TOKEN, Connector, TOKEN, ready};
use sequencer_runtime::cluster;
use sequencer_runtime::egress::EgressGuard;
use serde_json::json;
use uuid::Uuid;

use crate::harness::until;
use crate::preview::object;

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_runs_under_the_restricted_level_and_is_gone_with_its_pods() -> Result<()> {
    let harness = Harness::new("connector")?;
    let layout = &harness.cluster.layout;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    harness
        .cluster
        .kubectl(&["label", "namespace", &harness.namespace, restricted])?;
    let flags = [
        "network".to_owned(),
        "--pod=test".into(),
        "--cluster-id=e2e".into(),
        "--namespace=sequencer-system".into(),
        format!("--ca-bundle={}", text(layout.pki("ca.crt"))),
    ];
    let args = Args::try_parse_from(flags)?;
    let http = EgressGuard::new(&args.egress)?.trusted().build()?;
    let kubeconfig = Kubeconfig::read_from(layout.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = cluster::client(config, "network")?;

    let account = &harness.secrets.cloudflare_account;
    let metadata = json!({"name": "w", "namespace": harness.namespace, "uid": Uuid::new_v4()});
    let workspace: Workspace = serde_json::from_value(object(&metadata, account))?;
    let token: secrecy::SecretString = harness.secrets.cloudflare_token.clone().into();
    let api = Cloudflare::new(http, &args.cloudflare_url, token.clone());
    let tunnels = Tunnels::new(api, account, "token".into(), args.quarantine);
    let name = Owner::of(&workspace).tunnel(&args.hosts.cluster_id);
    let host = workspace.host(&args.hosts.cluster_id);
    let configuration = configuration(&workspace, &host.context("no host")?)?;
    let found = tunnels.create(&name).await?;
    assert!(tunnels.configure(&found, &configuration).await?);
    assert!(!tunnels.configure(&found, &configuration).await?);

    let connector = Connector::new(client.clone(), &harness.namespace, &workspace);
    let tunnel_token = tunnels.token(&found).await?;
    connector
        .store(&[(API_TOKEN, &token), (TOKEN, &tunnel_token)])
        .await?;
    let parts = connector.parts(&args, &found.id, &workspace);
    connector.apply(&parts).await?;
    until("both connectors are connected", async || {
        let deployment = connector.read_deployment().await?.context("no connector")?;
        ensure!(ready(&deployment).0 == 2, "{:?}", ready(&deployment));
        ensure!(
            tunnels
                .find(&name)
                .await?
                .context("no tunnel")?
                .is_connected(),
            "not connected"
        );
        Ok(())
    })
    .await?;
    // Applied again, nothing changes.
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &harness.namespace);
    let before = deployments.get(connector.name()).await?.metadata.generation;
    connector.apply(&parts).await?;
    assert_eq!(
        deployments.get(connector.name()).await?.metadata.generation,
        before
    );

    until("its pods are gone", async || {
        ensure!(connector.delete_deployment().await?, "not yet");
        Ok(())
    })
    .await?;
    assert_eq!(harness.kubectl(&["get", "pods", "-o", "name"])?, "");
    tunnels.delete(&name).await?;
    assert!(tunnels.find(&name).await?.is_none());
    connector.delete_network_policy().await?;
    connector.delete_secret().await?;
    let secrets: Api<Secret> = Api::namespaced(client, &harness.namespace);
    assert!(secrets.get_opt(connector.name()).await?.is_none());
    Ok(())
}
