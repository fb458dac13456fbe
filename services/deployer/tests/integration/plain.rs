//! Components without a build.

use anyhow::Result;
use serde_json::json;

use crate::harness::{Harness, plain};

#[tokio::test(flavor = "multi_thread")]
async fn three_plain_components_become_healthy_with_the_writes_that_it_takes() -> Result<()> {
    let harness = Harness::new("plain").await?;
    let workspace = harness.workspace(plain()).await?;

    for component in ["redis", "mysql", "click-mania"] {
        let section = harness
            .section(&workspace, component, |section| {
                section["state"] == "Healthy"
            })
            .await?;

        assert_eq!(
            (&section["readyReplicas"], &section["replicas"]),
            (&json!(1), &json!(1)),
            "{section:#}"
        );
        assert!(section["rev"].as_i64() <= Some(3), "{section:#}");
    }

    let writes = harness.writes()?;

    for (write, times) in [
        ("patch deployments", 3),
        ("patch services", 3),
        ("patch networkpolicies", 1),
    ] {
        assert_eq!(writes.get(write), Some(&times), "{writes:?}");
    }

    // A start that is not over at once is written down, too, and so is what it waits for.
    let sections = writes
        .get("patch components/status")
        .copied()
        .unwrap_or_default();

    assert!(
        (3..=9).contains(&sections) && writes.values().sum::<usize>() == 7 + sections,
        "{writes:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_began_another_goes_on_with() -> Result<()> {
    let harness = Harness::still("resumed").await?;
    let workspace = harness.workspace(json!([plain()[0]])).await?;
    harness.deploy(&workspace, "redis").await?;
    // The first one is gone before anything was ready, and no message comes: the second one sees
    // what was made.
    let harness = harness.watched()?;
    harness
        .section(&workspace, "redis", |section| section["state"] == "Healthy")
        .await?;
    Ok(())
}
