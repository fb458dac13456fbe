//! What the tests share: a namespace in the running cluster, the deployer in this process, and the
//! test as the watcher.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lab::audit;
use lab::cluster::Cluster;
pub(crate) use lab::release::NAMESPACE as RELEASE;
use sequencer_api::names::Owner;
use sequencer_api::{Component, Workspace};
use sequencer_deployer::args::{Args, NAME};
use sequencer_deployer::controllers;
use sequencer_deployer::reconcile::Reconciled;
use sequencer_deployer::service::Service;
use sequencer_deployer::triggers::Receivers;
use sequencer_runtime::{Handles, cluster};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) use lab::until::holds as until;

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

    /// Makes a Workspace of these components.
    pub(crate) async fn workspace(&self, components: Value) -> Result<Workspace> {
        self.workspace_with(json!({"components": components})).await
    }

    /// Makes a Workspace, and its Components as the watcher does.
    pub(crate) async fn workspace_with(&self, spec: Value) -> Result<Workspace> {
        let body = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "shop"}, "spec": spec,
        });
        let workspace: Workspace = self
            .api()
            .create(
                &PostParams::default(),
                &serde_json::from_value(body).context("the Workspace")?,
            )
            .await?;
        for template in &workspace.spec.components {
            let labels = labels(&workspace, &template.name);
            let body = json!({
                "apiVersion": "se.quencer.io/v1alpha1", "kind": "Component",
                "metadata": {
                    "name": name(&workspace, &template.name), "labels": labels,
                    "ownerReferences": [kube::Resource::controller_owner_ref(&workspace, &())],
                },
                "spec": template,
            });
            let _: Component = self
                .api()
                .create(&PostParams::default(), &serde_json::from_value(body)?)
                .await?;
        }

        Ok(workspace)
    }

    pub(crate) async fn component(
        &self,
        workspace: &Workspace,
        component: &str,
    ) -> Result<Component> {
        Ok(self
            .api::<Component>()
            .get(&name(workspace, component))
            .await?)
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

    /// Waits until the deploy section of a component is as `check` wants it.
    pub(crate) async fn section(
        &self,
        workspace: &Workspace,
        component: &str,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self
                .component(workspace, component)
                .await?
                .status
                .unwrap_or_default();
            let section = serde_json::to_value(status.deploy)?;
            if check(&section) {
                return Ok(section);
            }

            anyhow::ensure!(
                Instant::now() < deadline,
                "{component} is still {section:#}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Writes a condition, as the watcher does.
    pub(crate) async fn condition(
        &self,
        workspace: &Workspace,
        component: &str,
        kind: &str,
        reason: &str,
    ) -> Result<()> {
        let found = self.component(workspace, component).await?;
        let condition = json!({
            "type": kind, "status": "True", "reason": reason, "message": "", "observedGeneration": found.metadata.generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
        let name = name(workspace, component);
        let _: Component = self
            .api()
            .patch_status(&name, &PatchParams::default(), &patch)
            .await?;

        Ok(())
    }

    /// Holds a host for the Workspace of this uid, as the watcher does, until the value is dropped.
    pub(crate) fn hold(&self, host: &str, uid: &str) -> Result<Held> {
        let (label, zone) = host.split_once('.').context("no host")?;
        let record = format!("{host}.a");
        let labels = json!({"se.quencer.io/ws-uid": uid, "se.quencer.io/workspace-namespace": self.namespace()});
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {"name": record, "namespace": RELEASE, "labels": labels},
            "spec": {"zone": zone, "name": label, "recordType": "A"},
        });
        // Where the chart is installed only the watcher may say whose a record is.
        let watcher = format!("--as=system:serviceaccount:{RELEASE}:watcher");
        self.cluster
            .cluster
            .kubectl_fed(&[&watcher, "create", "-f", "-"], &object.to_string())?;
        Ok(Held {
            cluster: Cluster::new(lab::testing::layout()?),
            record,
        })
    }

    /// Writes fields of an object's status, as other services do.
    pub(crate) fn patch_status(&self, kind: &str, name: &str, fields: &Value) -> Result<()> {
        let patch = json!({"status": fields}).to_string();
        self.cluster
            .kubectl(&[
                "patch",
                kind,
                name,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ])
            .map(drop)
    }
}

/// A record that holds a host.
pub(crate) struct Held {
    cluster: Cluster,
    record: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        drop(self.cluster.kubectl(&[
            "-n",
            RELEASE,
            "delete",
            "dnsrecord",
            &self.record,
            "--wait=true",
        ]));
    }
}

/// Keeps a Sequencer that is installed in the cluster out of the test's namespace: there the test
/// is the watcher.
fn keep_out(harness: &lab::testing::Harness, owner: &Value) -> Result<()> {
    let (api, name) = ("admissionregistration.k8s.io/v1", &harness.namespace);
    let metadata = json!({"name": name, "ownerReferences": [owner]});
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let everything = json!({
        "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["CREATE", "UPDATE", "DELETE"],
    });
    let rule = format!(
        "!request.userInfo.username.startsWith('system:serviceaccount:sequencer-system:') && request.userInfo.username != '{CANARY}'"
    );
    harness.apply(&json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata,
        "spec": {
            "matchConstraints": {"resourceRules": [everything], "namespaceSelector": here},
            "validations": [{"expression": rule}],
        },
    }))?;
    harness.apply(&json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }))?;
    lab::until::until("the policy is in force", PATIENCE, || {
        let canary = [
            "create",
            "configmap",
            "x",
            "--dry-run=server",
            "--as",
            CANARY,
            "--as-group=system:masters",
        ];
        anyhow::ensure!(harness.kubectl(&canary).is_err(), "it is not");
        Ok(())
    })
}

/// A user who may do nothing in a test's namespace, and anything elsewhere.
const CANARY: &str = "deployer-test-canary";

/// The name of a component's Component.
pub(crate) fn name(workspace: &Workspace, component: &str) -> String {
    owner(workspace).component(component)
}

pub(crate) fn owner(workspace: &Workspace) -> Owner<'_> {
    Owner::of(workspace)
}

pub(crate) fn labels(workspace: &Workspace, component: &str) -> Value {
    json!({
        "se.quencer.io/workspace": workspace.metadata.name, "se.quencer.io/workspace-namespace": workspace.metadata.namespace,
        "se.quencer.io/ws-uid": workspace.metadata.uid, "se.quencer.io/component": component,
    })
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

/// The three databases and pages of the sample, without a build.
pub(crate) fn plain() -> Value {
    json!([
        {
            "name": "redis", "networks": [{"name": "tcp", "port": 6379, "targetPort": 6379}],
            "template": {"containers": [{"name": "redis", "image": "redis:latest", "ports": [{"containerPort": 6379}]}]},
        },
        {
            "name": "mysql", "networks": [{"name": "tcp", "port": 3306, "targetPort": 3306}],
            "template": {"containers": [{
                "name": "mysql", "image": "mysql:latest", "ports": [{"containerPort": 3306}],
                "env": [{"name": "MYSQL_RANDOM_ROOT_PASSWORD", "value": "true"}],
            }]},
        },
        {
            "name": "click-mania", "networks": [{"name": "http", "port": 3000, "targetPort": 3000}],
            "template": {"containers": [{
                "name": "click", "image": "app-base:bookworm", "ports": [{"containerPort": 3000}],
                "command": ["python3", "-m", "http.server", "3000"],
                "env": [{"name": "DB_HOST", "value": "${components::mysql.networks.tcp}"}],
            }]},
        },
    ])
}
