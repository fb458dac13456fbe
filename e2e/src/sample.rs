//! The sample Workspace, as the README has a user make it: Secrets, a grant, one `kubectl create`.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use minijinja::context;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::layout::text;
use crate::parts::{git, registry};
use crate::progress::Progress;
use crate::release::NAMESPACE;
use crate::secrets::Secrets;

/// Where the sample is.
pub const FILE: &str = "services/api/samples/workspace.yaml";
/// What the sample leaves to the user.
const ACCOUNT: &str = "$(YOUR_ACCOUNT_ID)";
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
        let secrets = &Secrets::ensure(&self.layout)?;
        progress.step("sample", "make its Secrets and create it, unless it is there", || {
            self.provide_sample_secrets(secrets)?;
            if self.sample()?.is_none() {
                let name = self.create_sample(secrets)?;
                self.kubectl(&["-n", NAMESPACE, "label", &name, LABEL])?;
            }
            Ok(())
        })?;
        let name = self.sample()?.context("the sample is gone")?;
        progress.step("sample", "wait until it is built, published, deployed, and answers", || {
            let ready = ["-n", NAMESPACE, "wait", &name, "--for=condition=Ready", "--timeout=10m"];
            self.kubectl(&ready).map(drop).map_err(|error| {
                let shown = self.kubectl(&["-n", NAMESPACE, "describe", &name]);
                error.context(shown.unwrap_or_default())
            })
        })?;
        self.kubectl(&["-n", NAMESPACE, "get", &name, "-o", "jsonpath={.status.url}"])
    }

    /// Makes the Secrets that the sample names.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn provide_sample_secrets(&self, secrets: &Secrets) -> Result<()> {
        let values = context! {
            namespace => NAMESPACE, hub_user => registry::HUB_USER, hub_password => secrets.hub_password,
            deploy_key => std::fs::read_to_string(git::deploy_key(&self.layout))?, token => secrets.cloudflare_token,
        };
        self.apply("sample-secrets.yaml", values)
    }

    /// The sample's name, as `workspace/NAME`. One that was interrupted before it got its label is taken for it.
    fn sample(&self) -> Result<Option<String>> {
        let labelled = self.kubectl(&["-n", NAMESPACE, "get", "workspaces", "-l", LABEL, "-o", "name"])?;
        if let Some(name) = labelled.lines().next() {
            return Ok(Some(name.into()));
        }
        let list = self.kubectl(&["-n", NAMESPACE, "get", "workspaces", "-o", "json"])?;
        let list: Value = serde_json::from_str(&list)?;
        let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
        let mut made = items.filter_map(|item| {
            let generated = item.pointer("/metadata/generateName").and_then(Value::as_str) == Some(GENERATE_NAME);
            item.pointer("/metadata/name").and_then(Value::as_str).filter(|_| generated)
        });
        let Some(name) = made.next().map(|name| format!("workspace/{name}")) else { return Ok(None) };
        self.kubectl(&["-n", NAMESPACE, "label", &name, LABEL])?;
        Ok(Some(name))
    }

    /// `kubectl create -f` with the account's id in its place, and nothing else changed.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn create_sample(&self, secrets: &Secrets) -> Result<String> {
        let file = self.layout.repository.join(FILE);
        let sample = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", text(&file)))?;
        let mut kubectl = self.layout.kubectl();
        kubectl.args(["create", "-f", "-", "-o", "name"]);
        let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        std::io::Write::write_all(&mut stdin, sample.replace(ACCOUNT, &secrets.cloudflare_account).as_bytes())?;
        drop(stdin);
        let done = child.wait_with_output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8_lossy(&done.stdout).trim().into())
    }
}
