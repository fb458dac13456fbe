//! A Workspace with a tunnel. The test plays the kubelet: it runs the connector, and lets
//! Deployments go.

use sequencer_api::code::Code;
use sequencer_proto::v1::Trigger;
use std::cell::Cell;

use anyhow::{Context as _, Result, ensure};
use fake_cloudflare::{Connector, ConnectorSettings, RootCertStore};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use reqwest::Method;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sequencer_api::Workspace;
use sequencer_api::names::Owner;
use sequencer_api::status::workspace::TunnelSection;
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, Host, TUNNELS, ZONE, delivery, until};

/// Whose namespace it is in.
pub(crate) const TEAM: &str = "team-a";

/// A Workspace with a tunnel to its only component.
pub(crate) fn object(metadata: &Value, account: &str) -> Value {
    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": metadata,
        "spec": {
            "networking": {"dns": {"zone": ZONE}, "tunnel": {"cloudflare": {
                "accountId": account, "secretKeyRef": {"name": "token", "key": "apiKey"},
                "route": {"component": "web", "network": "http"},
            }}},
            "components": [{
                "name": "web", "template": {"containers": [{"name": "web", "image": "web"}]},
                "networks": [{"name": "http", "port": 3000, "targetPort": 8080}],
            }],
        },
    })
}

/// A connector of the tunnel whose token this is.
pub(crate) async fn connector(harness: &Harness, token: &str) -> Result<Connector> {
    let mut roots = RootCertStore::empty();
    let certificate = harness.settings.cert_pem.as_bytes();
    roots.add(CertificateDer::from_pem_slice(certificate)?)?;

    let edge = harness.cloud.addresses().tunnel.to_string();
    let settings = ConnectorSettings {
        edges: vec![edge],
        roots,
        ..ConnectorSettings::new(token)
    };
    Ok(Connector::start(settings).await?)
}

/// A Workspace with a tunnel, and what belongs to it.
pub(crate) struct Preview<'a> {
    pub(crate) harness: &'a Harness,
    pub(crate) workspace: Workspace,
    /// How often it was looked at.
    pub(crate) looks: Cell<i64>,
}

impl<'a> Preview<'a> {
    pub(crate) async fn new(harness: &'a Harness) -> Result<Self> {
        harness
            .secret(TEAM, "token", "apiKey", &harness.settings.token)
            .await?;
        Self::with(harness, json!({"name": "token", "key": "apiKey"})).await
    }

    pub(crate) async fn with(harness: &'a Harness, secret: Value) -> Result<Self> {
        let metadata =
            json!({"name": Host::new(ZONE).label, "finalizers": ["se.quencer.io/workspace"]});
        let mut object = object(&metadata, &harness.settings.account);
        object["spec"]["networking"]["tunnel"]["cloudflare"]["secretKeyRef"] = secret;
        let workspace = harness.make(TEAM, object).await?;
        harness.hold(&workspace).await?;
        Ok(Self {
            harness,
            workspace,
            looks: Cell::default(),
        })
    }

    pub(crate) async fn handle(&self, trigger: Trigger) -> Outcome {
        self.looks.update(|looks| looks + 1);
        self.harness
            .service
            .handle(delivery(Verb::Tunnel, TEAM, &self.workspace, trigger))
            .await
    }

    /// Has it looked at until it is connected, while the kubelet does its part.
    pub(crate) async fn connect(&self) -> Result<Connector> {
        let (handled, connector) = tokio::join!(self.handle(Trigger::Retry), self.run_connector());
        let connector = connector?;

        if handled == Outcome::Recorded {
            until("the tunnel is connected", async || {
                ensure!(
                    self.handle(Trigger::Retry).await == Outcome::Done,
                    "not yet"
                );
                Ok(())
            })
            .await?;
        }

        Ok(connector)
    }

    /// The kubelet: starts the connector of the Deployment with the token of the Secret.
    pub(crate) async fn run_connector(&self) -> Result<Connector> {
        let deployments = self.harness.api::<Deployment>(TUNNELS);
        let token = until("the connector is there", async || {
            deployments.get(&self.connector()).await?;
            self.secret("token").await?.context("no token")
        })
        .await?;
        let connector = connector(self.harness, &token).await?;
        let status = json!({"status": {"replicas": 2, "readyReplicas": 1}});

        deployments
            .patch_status(
                &self.connector(),
                &PatchParams::default(),
                &Patch::Merge(status),
            )
            .await?;
        Ok(connector)
    }

    /// The garbage collector: the pods are gone, so the Deployment goes.
    pub(crate) async fn let_go(&self) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.harness
            .api::<Deployment>(TUNNELS)
            .patch(&self.connector(), &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        let api = self.harness.api::<Workspace>(TEAM);
        drop(
            api.delete(&self.workspace.name_any(), &DeleteParams::default())
                .await?,
        );
        Ok(())
    }

    pub(crate) async fn recorded(&self) -> Result<TunnelSection> {
        let found = self
            .harness
            .api::<Workspace>(TEAM)
            .get(&self.workspace.name_any())
            .await?;
        Ok(found.status.context("no status")?.tunnel)
    }

    pub(crate) async fn code(&self) -> Result<Code> {
        Ok(self
            .recorded()
            .await?
            .section
            .retry
            .context("no retry")?
            .code)
    }

    pub(crate) async fn secret(&self, key: &str) -> Result<Option<String>> {
        let found = self
            .harness
            .api::<Secret>(TUNNELS)
            .get_opt(&self.connector())
            .await?;
        let value = found
            .and_then(|found| found.data)
            .and_then(|mut data| data.remove(key));
        Ok(value.map(|value| String::from_utf8(value.0)).transpose()?)
    }

    pub(crate) async fn live(&self) -> Result<Vec<Value>> {
        self.live_in(&self.harness.settings.account, &self.tunnel())
            .await
    }

    /// The tunnels of a name in an account.
    pub(crate) async fn live_in(&self, account: &str, name: &str) -> Result<Vec<Value>> {
        let path = format!("/accounts/{account}/cfd_tunnel?is_deleted=false&name={name}");
        Ok(self
            .harness
            .call(Method::GET, &path, &Value::Null)
            .await?
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    pub(crate) async fn counted(&self, event: &str) -> Result<u64> {
        self.harness.counted("tunnels", event, &self.tunnel()).await
    }

    /// Whether nothing of it is left in the cluster.
    pub(crate) async fn is_gone(&self) -> Result<bool> {
        let name = self.connector();
        Ok(self
            .harness
            .api::<Secret>(TUNNELS)
            .get_opt(&name)
            .await?
            .is_none()
            && self
                .harness
                .api::<NetworkPolicy>(TUNNELS)
                .get_opt(&name)
                .await?
                .is_none()
            && self
                .harness
                .api::<Deployment>(TUNNELS)
                .get_opt(&name)
                .await?
                .is_none())
    }

    pub(crate) fn connector(&self) -> String {
        self.owner().connector()
    }

    pub(crate) fn tunnel(&self) -> String {
        self.owner().tunnel("c1")
    }

    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner::of(&self.workspace)
    }
}
