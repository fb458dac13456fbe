//! The objects of a test: made, held, changed and looked at.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::{DNSRecord, Workspace};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Harness, RELEASE};

impl Harness {
    /// Makes a Secret, or gives it another value.
    pub(crate) async fn secret(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let object = json!({"metadata": {"name": name}, "stringData": {key: value}});

        match api.get_opt(name).await? {
            None => drop(
                api.create(&PostParams::default(), &serde_json::from_value(object)?)
                    .await?,
            ),
            Some(_) => drop(
                api.patch(name, &PatchParams::default(), &Patch::Merge(object))
                    .await?,
            ),
        }

        Ok(())
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn make<K>(&self, namespace: &str, object: Value) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        Ok(self
            .api(namespace)
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?)
    }

    /// A Workspace, without a watcher that would look at it.
    pub(crate) async fn workspace(&self, namespace: &str, name: &str) -> Result<Workspace> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {"components": [{"name": "a", "template": {"containers": [{"name": "a", "image": "a"}]}}]},
        });
        self.make(namespace, object).await
    }

    /// A DNSRecord as the watcher makes it, for the Workspace of this uid.
    pub(crate) async fn record(&self, host: &Host, kind: &str, target: &str) -> Result<DNSRecord> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {
                "name": format!("{}.{}.{}", host.label, host.zone, kind.to_lowercase()), "finalizers": ["se.quencer.io/dns"],
                "labels": {
                    "se.quencer.io/ws-uid": host.owner, "se.quencer.io/workspace": "w",
                    "se.quencer.io/workspace-namespace": host.namespace,
                },
            },
            "spec": {"zone": host.zone, "name": host.label, "recordType": kind, "target": target},
        });
        self.make(RELEASE, object).await
    }

    /// Holds the hosts of a Workspace, as the watcher does before anything leads to them.
    pub(crate) async fn hold(&self, workspace: &Workspace) -> Result<()> {
        for host in workspace.hosts("c1") {
            let owner = (workspace.namespace().unwrap(), workspace.uid().unwrap());
            self.lock(&host, "CNAME", &owner.0, &owner.1).await?;
        }
        Ok(())
    }

    /// Makes the record that only holds a host.
    pub(crate) async fn lock(
        &self,
        host: &str,
        kind: &str,
        namespace: &str,
        owner: &str,
    ) -> Result<DNSRecord> {
        let (label, zone) = host.split_once('.').context("no host")?;
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {
                "name": format!("{host}.{}", kind.to_lowercase()),
                "labels": {"se.quencer.io/ws-uid": owner, "se.quencer.io/workspace-namespace": namespace},
            },
            "spec": {"zone": zone, "name": label, "recordType": kind},
        });
        self.make(RELEASE, object).await
    }

    /// What is recorded of a DNSRecord.
    pub(crate) async fn recorded(&self, record: &DNSRecord) -> Result<RecordSection> {
        let found: DNSRecord = self.api(RELEASE).get(&record.name_any()).await?;
        Ok(found.status.context("no status")?.record)
    }

    /// Begins the deletion.
    pub(crate) async fn delete(&self, record: &DNSRecord) -> Result<()> {
        let api: Api<DNSRecord> = self.api(RELEASE);
        drop(
            api.delete(&record.name_any(), &DeleteParams::default())
                .await?,
        );
        Ok(())
    }

    /// Changes an object's spec or metadata.
    pub(crate) async fn patch<K>(&self, namespace: &str, object: &K, patch: Value) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        Ok(self
            .api(namespace)
            .patch(
                &object.name_any(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?)
    }
}

/// A host of a test's own.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) label: String,
    pub(crate) zone: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) owner: String,
}

impl Host {
    pub(crate) fn new(zone: &'static str) -> Self {
        let label = format!("t-{}", &Uuid::new_v4().simple().to_string()[..12]);
        Self {
            label,
            zone,
            namespace: "team-a",
            owner: Uuid::new_v4().to_string(),
        }
    }

    pub(crate) fn fqdn(&self) -> String {
        format!("{}.{}", self.label, self.zone)
    }
}
