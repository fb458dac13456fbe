//! The sample Workspace, as the README has a user make it: Secrets, a grant, one `kubectl create`.

use anyhow::{Context as _, Result};
use minijinja::context;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::layout::text;
use crate::parts::{git, registry};
use crate::progress::{Progress, Step};
use crate::release::NAMESPACE;
use crate::secrets::Secrets;

/// Where the sample is.
pub const FILE: &str = "services/api/samples/workspace.yaml";
/// What the sample leaves to the user.
pub const ACCOUNT: &str = "$(YOUR_ACCOUNT_ID)";
/// How its name begins.
const GENERATE_NAME: &str = "workspace-sample-";
/// By this label it is found again.
pub const LABEL: &str = "example=sample";

impl Cluster {
    /// Makes the sample, unless it is there, waits until it is ready, and returns its URL.
    ///
    /// # Errors
    /// The API server refuses it, or it does not become ready; the text says how far it came.
    pub fn provide_sample(&self, progress: &Progress) -> Result<String> {
        progress.run("the sample is ready", self.sample_steps())?;
        self.sample_url()
    }

    pub(crate) fn sample_steps(&self) -> Vec<Step<'_>> {
        let what = "make its Secrets and create it, unless it is there";
        let make = Step::new("sample", what, || self.make_sample());
        let what = "wait until it is built, published, deployed, and answers";
        let wait = Step::new("sample", what, || self.wait_for_sample());
        vec![make, wait]
    }

    fn make_sample(&self) -> Result<()> {
        let secrets = Secrets::ensure(&self.layout)?;
        self.provide_sample_secrets(&secrets, NAMESPACE)?;
        if self.sample()?.is_none() {
            let name = self.create_sample(&secrets)?;
            self.kubectl(&["-n", NAMESPACE, "label", &name, LABEL])?;
        }
        Ok(())
    }

    fn wait_for_sample(&self) -> Result<()> {
        let name = self.sample()?.context("the sample is gone")?;
        let ready = [
            "-n",
            NAMESPACE,
            "wait",
            &name,
            "--for=condition=Ready",
            "--timeout=10m",
        ];

        self.kubectl(&ready).map(drop).map_err(|error| {
            let shown = self.kubectl(&["-n", NAMESPACE, "describe", &name]);
            error.context(shown.unwrap_or_default())
        })
    }

    /// The sample's URL.
    ///
    /// # Errors
    /// There is no sample.
    pub fn sample_url(&self) -> Result<String> {
        let name = self.sample()?.context("there is no sample")?;
        let path = "jsonpath={.status.url}";
        self.kubectl(&["-n", NAMESPACE, "get", &name, "-o", path])
    }

    /// Makes the Secrets that the sample names, for Workspaces of this namespace. The tunnel's
    /// token is in the namespace `default` for the release's own namespace, as the sample has it,
    /// and in its own for a tenant.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn provide_sample_secrets(&self, secrets: &Secrets, namespace: &str) -> Result<()> {
        let values = context! {
            namespace, token_namespace => if namespace == NAMESPACE { "default" } else { namespace },
            hub_user => registry::HUB_USER, hub_password => secrets.hub_password,
            deploy_key => std::fs::read_to_string(git::deploy_key(&self.layout))?, token => secrets.cloudflare_token,
        };

        let manifest = self.layout.render("sample-secrets.yaml", values)?;
        // Several tests may make them at once.
        self.kubectl_fed(
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            &manifest,
        )
        .map(drop)
    }

    /// The sample's name, as `workspace/NAME`. One that was interrupted before it got its label is
    /// taken for it.
    fn sample(&self) -> Result<Option<String>> {
        let labelled = self.kubectl(&[
            "-n",
            NAMESPACE,
            "get",
            "workspaces",
            "-l",
            LABEL,
            "-o",
            "name",
        ])?;
        if let Some(name) = labelled.lines().next() {
            return Ok(Some(name.into()));
        }

        let list = self.kubectl(&["-n", NAMESPACE, "get", "workspaces", "-o", "json"])?;
        let list: Value = serde_json::from_str(&list)?;
        let items = list
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut made = items.filter_map(|item| {
            let generated = item
                .pointer("/metadata/generateName")
                .and_then(Value::as_str)
                == Some(GENERATE_NAME);
            item.pointer("/metadata/name")
                .and_then(Value::as_str)
                .filter(|_| generated)
        });
        let Some(name) = made.next().map(|name| format!("workspace/{name}")) else {
            return Ok(None);
        };

        self.kubectl(&["-n", NAMESPACE, "label", &name, LABEL])?;
        Ok(Some(name))
    }

    /// `kubectl create -f` with the account's id in its place, and nothing else changed.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn create_sample(&self, secrets: &Secrets) -> Result<String> {
        let file = self.layout.repository.join(FILE);
        let sample = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", text(&file)))?;
        let sample = sample.replace(ACCOUNT, &secrets.cloudflare_account);

        Ok(self
            .kubectl_fed(&["create", "-f", "-", "-o", "name"], &sample)?
            .trim()
            .into())
    }
}
