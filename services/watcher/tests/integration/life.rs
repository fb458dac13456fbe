//! From `kubectl apply` to Ready, and to the end.

mod errors;
mod repair;
mod steps;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The sample, in the zone that the test's provider has.
pub(crate) fn sample() -> Result<Value> {
    let text = include_str!("../../../api/samples/workspace.yaml")
        .replace("$(YOUR_ACCOUNT_ID)", &"0".repeat(32))
        .replace("yourdomain.com", "preview.test");
    let object: Value = serde_yaml::from_str(&text)?;
    object.get("spec").cloned().context("no spec")
}

/// Three components that need neither build nor network.
pub(crate) fn plain() -> Value {
    let component = |name: &str, port: i32| {
        json!({
            "name": name, "networks": [{"name": "tcp", "port": port}],
            "template": {"containers": [{"name": name, "image": "redis:latest", "ports": [{"containerPort": port}]}]},
        })
    };
    json!({"components": [component("a", 1), component("b", 2), component("c", 3)]})
}
