//! What keeps a Sequencer that is installed in the cluster out of a test's namespace.

use anyhow::Result;
use serde_json::{Value, json};

use super::PATIENCE;

/// Keeps a Sequencer that is installed in the cluster out of the test's namespace: there the test
/// is the watcher.
pub(super) fn keep_out(harness: &lab::testing::Harness, owner: &Value) -> Result<()> {
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
