//! One Workspace in a namespace of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use lab::until::eventually_within;
use sequencer_api::{Build, Workspace};
use serde_json::{Value, json};

use crate::state::{self, State};
use crate::world::World;

/// How long a preview may take to settle.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long it must stay as it is expected.
const STAYS: Duration = Duration::from_secs(1);

pub(crate) struct Preview<'a> {
    pub(crate) world: &'a World,
    namespace: String,
}

impl<'a> Preview<'a> {
    pub(crate) const NAME: &'static str = "w";

    pub(crate) async fn new(world: &'a World, namespace: &str) -> Result<Self> {
        world.namespace(namespace).await?;
        let preview = Self {
            world,
            namespace: namespace.to_owned(),
        };
        let token =
            json!({"metadata": {"name": "token"}, "stringData": {"apiKey": world.outside.token()}});
        let secrets = preview.api::<Secret>();
        secrets
            .create(&PostParams::default(), &serde_json::from_value(token)?)
            .await?;
        Ok(preview)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    async fn get(&self) -> Result<Workspace> {
        Ok(self.api().get(Self::NAME).await?)
    }

    pub(crate) async fn uid(&self) -> Result<String> {
        self.get().await?.uid().context("no uid")
    }

    /// The selector of what is made for it outside of its namespace.
    pub(crate) async fn label(&self) -> Result<String> {
        Ok(state::label(&self.uid().await?))
    }

    /// As `kubectl apply` does: what the spec does not say any more goes. Returns its uid.
    pub(crate) async fn apply(&self, spec: &Value) -> Result<String> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace",
            "metadata": {"name": Self::NAME}, "spec": spec,
        });
        let manager = PatchParams::apply("person").force();
        let all = self.api::<Workspace>();
        let applied = all
            .patch(Self::NAME, &manager, &Patch::Apply(&object))
            .await?;
        applied.uid().context("no uid")
    }

    /// Asks for another try.
    pub(crate) async fn ask(&self, word: &str) -> Result<()> {
        let asked = json!({"metadata": {"annotations": {"se.quencer.io/retry": word}}});
        let (all, none) = (self.api::<Workspace>(), PatchParams::default());
        all.patch(Self::NAME, &none, &Patch::Merge(asked)).await?;
        Ok(())
    }

    /// Waits until the status says that this spec is ready, or held back.
    pub(crate) async fn settled(&self, spec: &Value) -> Result<()> {
        becomes("it is ready", async || self.is_settled(spec).await).await
    }

    async fn is_settled(&self, spec: &Value) -> Result<()> {
        let is_paused = spec["paused"] == true;
        let found = self.get().await?;
        let status = found.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let ready = conditions.find(|found| found.type_ == "Ready");

        let is_current = Some(status.observed_generation) == found.metadata.generation;
        let is_well = ready
            .is_some_and(|ready| ready.status == "True" || (is_paused && ready.reason == "Paused"));
        ensure!(is_current && is_well, "{}", told(&status.conditions));
        Ok(())
    }

    /// What is there of it.
    pub(crate) async fn state(&self) -> Result<State> {
        state::read(self.world, &self.namespace, &self.uid().await?).await
    }

    /// Waits until it is ready and stays as it is expected.
    pub(crate) async fn is(&self, spec: &Value, expected: &State) -> Result<()> {
        let is_so = async || {
            self.is_settled(spec).await?;
            let mut found = self.state().await?;
            found.retain(|key, _| expected.contains_key(key) || !state::is_kept(key));
            let difference = state::difference(&found, expected);
            ensure!(difference.is_empty(), "{difference}");
            Ok(())
        };
        becomes("it is as if it had been applied so", async || {
            is_so().await?;
            tokio::time::sleep(STAYS).await;
            is_so().await
        })
        .await
    }

    /// Deletes it, and waits until it is gone.
    pub(crate) async fn remove(&self) -> Result<()> {
        let all = self.api::<Workspace>();
        all.delete(Self::NAME, &DeleteParams::default()).await?;
        self.is_absent().await
    }

    async fn is_absent(&self) -> Result<()> {
        let all = self.api::<Workspace>();
        becomes("it is gone", async || {
            let found = all.get_opt(Self::NAME).await?;
            let status = found
                .as_ref()
                .and_then(|found| found.status.clone())
                .unwrap_or_default();
            ensure!(found.is_none(), "{}", told(&status.conditions));
            Ok(())
        })
        .await
    }

    /// Deletes it, and waits until nothing of it is left.
    pub(crate) async fn delete(&self) -> Result<()> {
        let uid = self.uid().await?;
        self.remove().await?;
        self.gone(&uid).await
    }

    /// Waits until it is gone, and nothing of it is left.
    pub(crate) async fn gone(&self, uid: &str) -> Result<()> {
        self.is_absent().await?;
        becomes("nothing of it is left", async || {
            let left = state::read(self.world, &self.namespace, uid).await?;
            let builds = self
                .api::<Build>()
                .list_metadata(&kube::api::ListParams::default())
                .await?;
            let left: Vec<_> = left.keys().collect();
            ensure!(
                left.is_empty() && builds.items.is_empty(),
                "{left:?} and {} Builds",
                builds.items.len()
            );
            Ok(())
        })
        .await
    }
}

/// Waits until that is so. Each look costs the API server, which serves all sequences.
async fn becomes(what: &str, check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    eventually_within(what, PATIENCE, LOOK, check).await
}

fn told(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> String {
    let told = conditions.iter().map(|found| {
        format!(
            "{} {} {} {}",
            found.type_, found.status, found.reason, found.message
        )
    });
    told.collect::<Vec<_>>().join("; ")
}
