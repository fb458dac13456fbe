//! The sample's application with its two databases, made by hand.

use anyhow::{Context as _, Result, ensure};
use lab::testing::{Harness, PATIENCE};
use lab::until::until;
use serde_json::Value;

/// One click: the status and the answer.
fn click(harness: &Harness) -> Result<(u64, Value)> {
    let address = harness.field("service/click", ".spec.clusterIP")?;
    let answer = harness.cluster.general.run(&[
        "curl",
        "-s",
        "-w",
        " %{http_code}",
        &format!("http://{address}:3000/"),
    ])?;
    let (body, status) = answer.rsplit_once(' ').with_context(|| answer.clone())?;

    Ok((
        status.parse()?,
        serde_json::from_str(body).unwrap_or_default(),
    ))
}

fn wait_status(harness: &Harness, status: u64) -> Result<Value> {
    until(
        &format!("the application answers {status}"),
        PATIENCE,
        || {
            let (found, answer) = click(harness)?;
            ensure!(found == status, "it answers {found}: {answer}");
            Ok(answer)
        },
    )
}

#[test]
fn clicks_are_counted_and_survive_the_loss_of_a_database_and_of_a_pod() -> Result<()> {
    let harness = Harness::new("click")?;
    harness.deploy_click()?;
    let first = wait_status(&harness, 200)?;
    let second = wait_status(&harness, 200)?;

    for counter in ["mysql", "redis"] {
        assert_eq!(
            second[counter].as_u64(),
            first[counter].as_u64().map(|number| number + 1),
            "{counter}"
        );
    }

    ensure!(second["commit"].is_string(), "no commit in {second}");

    for database in ["redis", "mysql"] {
        let deployment = format!("deployment/{database}");
        harness.kubectl(&["scale", &deployment, "--replicas=0"])?;
        wait_status(&harness, 503)?;
        harness.kubectl(&["scale", &deployment, "--replicas=1"])?;
        wait_status(&harness, 200)?;
    }

    let pod = harness.field(
        "pods",
        ".items[?(@.metadata.labels.app=='click')].metadata.uid",
    )?;

    harness.kubectl(&[
        "delete",
        "pod",
        "-l",
        "app=click",
        "--grace-period=0",
        "--force",
    ])?;

    until("another pod takes its place", PATIENCE, || {
        let ready = harness.field("deployment/click", ".status.readyReplicas")?;
        let pods = harness.field(
            "pods",
            ".items[?(@.metadata.labels.app=='click')].metadata.uid",
        )?;

        ensure!(
            ready == "1" && pods != pod && !pods.contains(' '),
            "{ready} ready, pods {pods}"
        );
        Ok(())
    })?;
    wait_status(&harness, 200).map(drop)
}
