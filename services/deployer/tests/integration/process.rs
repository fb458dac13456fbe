//! The whole process: messages over a real bus, and no more rights than it has in a cluster.

use sequencer_proto::v1::Trigger;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use k8s_openapi::api::apps::v1::Deployment;
use lab::alone::Alone;
use lab::testing::layout;
use sequencer_api::status::State;
use sequencer_proto::topics::{Command as BusCommand, Consumer, Verb};
use sequencer_runtime::Handles;
use sequencer_runtime::args::Args;
use sequencer_runtime::bus::{Bus, Keep};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Harness, RELEASE, name, plain, until};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    shared: Args,
}

/// A child that goes with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Gives a service account of the test's namespace the deployer's rights, and returns a kubeconfig
/// that acts as it.
fn kubeconfig(harness: &Harness, folder: &Path) -> Result<PathBuf> {
    let mut rights: Value = serde_yaml::from_str(include_str!("rights.yaml"))?;
    // The chart's own writes statuses by its name: an admission policy asks everybody else for this.
    let kinds = ["workspaces", "components"];
    let record = json!({"apiGroups": ["se.quencer.io"], "resources": kinds, "verbs": ["record"]});
    let cluster = rights["cluster"].as_array_mut();
    cluster.context("no rights")?.push(record);
    let (namespace, api) = (harness.namespace(), "rbac.authorization.k8s.io");
    let uid = harness.cluster.cluster.kubectl(&[
        "get",
        "namespace",
        namespace,
        "-o",
        "jsonpath={.metadata.uid}",
    ])?;
    // What is the whole cluster's goes with the namespace.
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid}]);
    let subjects = json!([{"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}]);
    for (role, binding, rules, place) in [
        (
            "ClusterRole",
            "ClusterRoleBinding",
            &rights["cluster"],
            None,
        ),
        ("Role", "RoleBinding", &rights["tenant"], Some(namespace)),
        ("Role", "RoleBinding", &rights["release"], Some(RELEASE)),
    ] {
        let metadata = json!({"name": namespace, "namespace": place, "ownerReferences": owner});
        let kind = format!("{api}/v1");
        let reference = json!({"apiGroup": api, "kind": role, "name": namespace});
        for object in [
            json!({"apiVersion": kind, "kind": role, "metadata": metadata, "rules": rules}),
            json!({
                "apiVersion": kind, "kind": binding, "metadata": metadata, "roleRef": reference, "subjects": subjects,
            }),
        ] {
            harness
                .cluster
                .cluster
                .kubectl_fed(&["apply", "-f", "-"], &object.to_string())?;
        }
    }
    let admin = std::fs::read_to_string(
        harness
            .cluster
            .cluster
            .layout
            .state
            .join("etc/admin.kubeconfig"),
    )?;
    let mut config: Value = serde_yaml::from_str(&admin)?;
    config["users"][0]["user"]["as"] = format!("system:serviceaccount:{namespace}:deployer").into();
    let file = folder.join("deployer.kubeconfig");
    std::fs::write(&file, serde_yaml::to_string(&config)?)?;
    Ok(file)
}

/// Starts the deployer with the rights that the chart gives it.
fn start(harness: &Harness, alone: &Alone, nats: &str) -> Result<Process> {
    let admin = format!("{}:8080", alone.address);
    let kubeconfig = kubeconfig(harness, alone.folder())?;
    let log = std::fs::File::create(alone.folder().join("deployer.log"))?;
    let providers = alone.folder().join("providers.yaml");
    std::fs::write(
        &providers,
        "- {name: lab, zones: [preview.test], wildcard: {}}\n",
    )?;
    let flags = [
        "--pod=test",
        "--nats-url",
        nats,
        "--admin",
        &admin,
        "--watch-namespace",
        harness.namespace(),
    ];
    let mut deployer = Command::new(env!("CARGO_BIN_EXE_deployer"));
    deployer
        .args(flags)
        .args([
            "--cluster-id=test",
            "--namespace",
            RELEASE,
            "--dns-providers",
        ])
        .arg(&providers);
    deployer
        .env("KUBECONFIG", kubeconfig)
        .stdout(log.try_clone()?)
        .stderr(Stdio::from(log));
    Ok(Process(deployer.spawn()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_does_its_work_with_the_rights_that_it_has() -> Result<()> {
    let harness = Harness::still("process").await?;
    let mut alone = Alone::new(&layout()?)?;
    let nats = alone.nats()?;
    let mut deployer = start(&harness, &alone, &nats)?;

    let shared = Cli::parse_from(["watcher", "--pod=watcher", "--nats-url", &nats]).shared;
    let bus = Bus::connect("watcher", &shared, &Handles::default()).await?;
    let (consumers, every) = (vec![Consumer::deployer()], Duration::from_secs(1));
    bus.ensure(&Keep {
        consumers,
        ack_wait: Duration::from_secs(30),
        every,
    })
    .await?;

    let mut components = json!([plain()[0]]);
    components[0]["template"]["containers"][0]["env"] =
        json!([{"name": "PW", "value": "${variables::PW}"}]);
    let networking = json!({
        "dns": {"zone": "preview.test"},
        "ingress": {"className": "traefik", "rules": [{"name": "a", "component": "redis", "network": "tcp"}]},
    });
    let variables = json!([{"name": "PW", "generate": {"length": 8}}]);
    let spec = json!({"components": components, "networking": networking, "variables": variables});
    let workspace = harness.workspace_with(spec).await?;
    let _held = harness.hold(
        &workspace.host("test").context("no host")?,
        workspace.metadata.uid.as_deref().context("no uid")?,
    )?;
    let uid = Uuid::try_parse(workspace.metadata.uid.as_deref().context("no uid")?)?;
    let component = harness
        .component(&workspace, "redis")
        .await?
        .metadata
        .uid
        .context("no uid")?;
    let deploy = BusCommand::new(Verb::Deploy, None, uid, Uuid::try_parse(&component)?)?;
    bus.publish(
        &deploy,
        harness.namespace(),
        &name(&workspace, "redis"),
        Trigger::Change,
    )
    .await?;
    bus.publish(
        &BusCommand::new(Verb::Ingress, None, uid, uid)?,
        harness.namespace(),
        "shop",
        Trigger::Change,
    )
    .await?;
    let healthy = |section: &Value| section["state"] == json!(State::Healthy);
    let done = async {
        harness.section(&workspace, "redis", healthy).await?;
        harness
            .cluster
            .wait_field("workspace/shop", ".status.ingress.state", "Completed")
    };
    let log = || std::fs::read_to_string(alone.folder().join("deployer.log")).unwrap_or_default();
    done.await.with_context(log)?;
    assert!(!log().contains("forbidden"), "{}", log());

    let deployment = name(&workspace, "redis");
    harness
        .cluster
        .kubectl(&["delete", "deployment", &deployment])?;
    until("it is made again", async || {
        Ok(harness
            .api::<Deployment>()
            .get_opt(&deployment)
            .await?
            .is_some())
    })
    .await?;

    let pid = deployer.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()?
            .success()
    );
    assert!(deployer.0.wait()?.success(), "{}", log());
    Ok(())
}
