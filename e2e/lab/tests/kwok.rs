//! Nodes that exist in the API only.

use anyhow::Result;
use lab::parts::kwok;
use lab::testing::Harness;
use serde_json::json;

#[test]
fn a_pod_on_a_node_of_kwok_runs_without_a_kubelet() -> Result<()> {
    let harness = Harness::new("kwok")?;
    harness.cluster.start_kwok()?;
    let node = format!("fake-{}", harness.namespace);
    harness.apply(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node, "annotations": {kwok::ANNOTATION: "fake"}},
        "spec": {"taints": [{"key": "fake", "effect": "NoSchedule"}]},
    }))?;
    harness.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "played"},
        "spec": {"nodeName": node, "containers": [{"name": "none", "image": "there.is/none"}]},
    }))?;
    harness.wait_field("pod/played", ".status.phase", "Running")?;
    harness
        .cluster
        .kubectl(&["delete", "node", &node])
        .map(drop)
}
