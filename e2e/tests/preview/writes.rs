//! What a preview costs the API server, by its audit log.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::manifest::preview;
use crate::walk::{Walk, unique};

/// How often each service did what, to objects whose names begin so. Events and leases count apart.
fn writes(walk: &Walk, name: &str) -> Result<BTreeMap<String, usize>> {
    let log = std::fs::read_to_string(walk.cluster.layout.logs().join("audit.log"))?;
    let mut count = BTreeMap::new();
    for line in log.lines() {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let word = |path: &str| entry.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let service = word("/user/username").strip_prefix("system:serviceaccount:sequencer-");
        let written = matches!(word("/verb"), "create" | "update" | "patch" | "delete");
        let resource = word("/objectRef/resource");
        let ours = word("/objectRef/name").starts_with(name) && !matches!(resource, "leases" | "events");
        if let (Some(service), true, true, "ResponseComplete") = (service, written, ours, word("/stage")) {
            let what = format!("{service} {} {resource}/{}", word("/verb"), word("/objectRef/subresource"));
            *count.entry(what).or_insert(0) += 1;
        }
    }
    ensure!(!count.is_empty(), "the audit log has nothing of {name}");
    Ok(count)
}

#[test]
fn three_plain_components_cost_at_most_eighteen_writes_and_an_idle_preview_none() -> Result<()> {
    let walk = Walk::new()?;
    let name = &unique("cheap");
    let component = |name: &str| {
        json!({
            "name": name, "networks": [{"name": "tcp", "port": 6379}],
            "template": {"containers": [{"name": name, "image": "redis:latest", "ports": [{"containerPort": 6379}]}]},
        })
    };
    let spec = json!({"components": [component("a"), component("b"), component("c")]});
    walk.apply(
        &json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
            .to_string(),
    )?;
    walk.wait_ready(name)?;
    let first = writes(&walk, name)?;
    let total: usize = first.values().sum();
    ensure!(total <= 18, "{total}: {first:#?}");

    // Somebody else's whole preview later, with many a resync, there is not one more.
    let other = &unique("other");
    walk.push(other, "note", other)?;
    walk.apply(&preview(other, other, "dockerhub-credentials").to_string())?;
    walk.wait_ready(other)?;
    walk.delete(other)?;
    assert_eq!(writes(&walk, name)?, first);
    walk.delete(name)
}
