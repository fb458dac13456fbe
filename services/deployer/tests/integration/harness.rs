//! What the tests share: a namespace in the running cluster, the deployer in this process, and the
//! test as the watcher.

mod objects;
mod policy;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lab::audit;
use sequencer_api::{Component, Workspace};
use sequencer_deployer::args::{Args, NAME};
use sequencer_deployer::controllers;
use sequencer_deployer::reconcile::Reconciled;
use sequencer_deployer::service::Service;
use sequencer_deployer::triggers::Receivers;
use sequencer_runtime::{Handles, cluster};
use serde_json::json;
use tokio::task::JoinSet;

use policy::keep_out;

pub(crate) use lab::release::NAMESPACE as RELEASE;
pub(crate) use lab::until::holds as until;
pub(crate) use objects::{Held, labels, name, owner, plain};

/// How long anything may take: images are pulled from a registry beside the cluster.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A namespace of the running cluster, with a deployer.
pub(crate) struct Harness {
    pub(crate) cluster: lab::testing::Harness,
    client: Client,
    service_client: Client,
    service: Service,
    tasks: JoinSet<()>,
}

impl Harness {
    /// A deployer that reconciles what it is asked to, and watches nothing.
    pub(crate) async fn still(name: &str) -> Result<Self> {
        let cluster = lab::testing::Harness::new(&format!("deployer-{name}"))?;
        let folder = cluster
            .cluster
            .layout
            .repository
            .join("charts/sequencer/files/crds");
        let applied = cluster.cluster.kubectl(&[
            "apply",
            "--server-side",
            "-f",
            &folder.display().to_string(),
        ]);
        // Where the chart is installed the definitions are its own to change.
        applied.map(drop).or_else(|error| {
            if error.to_string().contains("conflict with") {
                Ok(())
            } else {
                Err(error)
            }
        })?;
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ];
        cluster.cluster.kubectl(&wait)?;
        let uid = cluster.cluster.kubectl(&[
            "get",
            "namespace",
            &cluster.namespace,
            "-o",
            "jsonpath={.metadata.uid}",
        ])?;
        let owner =
            json!({"apiVersion": "v1", "kind": "Namespace", "name": cluster.namespace, "uid": uid});
        keep_out(&cluster, &owner)?;
        let kubeconfig = cluster.cluster.layout.state.join("etc/admin.kubeconfig");
        let service_client = client(&kubeconfig, NAME).await?;
        let (service, _) = service(&service_client, &cluster.namespace, &[])?;
        let client = client(&kubeconfig, "watcher").await?;
        Ok(Self {
            cluster,
            client,
            service_client,
            service,
            tasks: JoinSet::new(),
        })
    }

    /// A deployer that watches what it made, too.
    pub(crate) async fn new(name: &str) -> Result<Self> {
        Self::still(name).await?.watched()
    }

    /// Another deployer, which watches.
    pub(crate) fn watched(mut self) -> Result<Self> {
        let (service, receivers) = service(&self.service_client, self.namespace(), &[])?;
        self.tasks.spawn(controllers::run(
            service.clone(),
            receivers,
            Handles::default(),
        ));
        self.service = service;
        Ok(self)
    }

    /// Another deployer, with more flags.
    pub(crate) fn configured(mut self, flags: &[&str]) -> Result<Self> {
        (self.service, _) = service(&self.service_client, self.namespace(), flags)?;
        Ok(self)
    }

    /// How often the deployer wrote what, by the API server's audit log.
    pub(crate) fn writes(&self) -> Result<BTreeMap<String, usize>> {
        let writes = audit::writes(&self.cluster.cluster.layout)?;
        let ours = |write: &&audit::Write| {
            let installed = write.user().starts_with("system:");
            write.user_agent == NAME && write.namespace() == self.namespace() && !installed
        };
        Ok(audit::count(writes.iter().filter(ours)))
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.cluster.namespace
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// Reconciles a component here and now.
    pub(crate) async fn deploy(&self, workspace: &Workspace, component: &str) -> Result<()> {
        self.reconcile::<Component>(&name(workspace, component))
            .await
    }

    /// Reconciles a Workspace here and now.
    pub(crate) async fn expose(&self, workspace: &Workspace) -> Result<()> {
        self.reconcile::<Workspace>(owner(workspace).name).await
    }

    /// Reconciles an object here and now, and again if somebody else wrote meanwhile.
    pub(crate) async fn reconcile<K: Reconciled>(&self, name: &str) -> Result<()> {
        until("it is reconciled", async || {
            let reconciled = K::reconcile(&self.service, self.namespace(), name).await;
            match reconciled {
                Err(error) if error.is_stale() => Ok(false),
                reconciled => Ok(reconciled.map(|_next| true)?),
            }
        })
        .await
    }
}

/// The deployer of a test: those of other tests have namespaces of their own.
fn service(client: &Client, namespace: &str, flags: &[&str]) -> Result<(Service, Receivers)> {
    let providers = tempfile::NamedTempFile::new()?;
    std::fs::write(
        providers.path(),
        format!(
            "- {{name: lab, zones: [preview.test], namespaces: [{namespace}], wildcard: {{}}}}\n"
        ),
    )?;
    let (release, watched) = (
        format!("--namespace={RELEASE}"),
        format!("--watch-namespace={namespace}"),
    );
    let providers = format!("--dns-providers={}", providers.path().display());
    let args = [
        "deployer",
        "--pod=test",
        "--cluster-id=test",
        &release,
        &watched,
        &providers,
    ];
    Ok(Service::new(
        client.clone(),
        &Args::parse_from(args.iter().chain(flags)),
    )?)
}

async fn client(kubeconfig: &Path, name: &'static str) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(cluster::client(config, name)?)
}
