//! The objects of a test: the Workspace and its Components as the watcher makes them, and
//! hosts that are held.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams, PostParams};
use lab::cluster::Cluster;
use sequencer_api::names::Owner;
use sequencer_api::{Component, Workspace};
use serde_json::{Value, json};

use super::{Harness, PATIENCE, RELEASE};

impl Harness {
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

    /// Changes an object as people do: by a list of operations, or by what is merged into it.
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: &Value) -> Result<()> {
        let how = if patch.is_array() {
            "--type=json"
        } else {
            "--type=merge"
        };
        self.cluster
            .kubectl(&["patch", kind, name, how, "-p", &patch.to_string()])
            .map(drop)
    }

    /// Whether a Component of this name has its Deployment.
    pub(crate) async fn is_deployed(&self, name: &str) -> Result<bool> {
        Ok(self.api::<Deployment>().get_opt(name).await?.is_some())
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
