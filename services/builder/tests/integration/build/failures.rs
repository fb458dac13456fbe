//! Builds that fail, and the codes of why.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use super::{repository, spec};
use crate::harness::{Harness, until};

/// An argument that would choose whose cache mounts a build sees.
const RESERVED: &str = "BUILDKIT_CACHE_MOUNT_NS";

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_is_e1011_with_its_line_and_last_words_and_no_secret() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let dockerfile =
        "FROM app-base:bookworm\nRUN --mount=type=secret,id=npm cat /run/secrets/npm && exit 7\n";
    let (repository, commit) = repository(&harness, dockerfile).await?;
    harness
        .secret("npm", &[("token", "SEQCANARY-1-npm")])
        .await?;
    let secrets = json!({"secrets": {"valuesFrom": {"secretRef": {"name": "npm"}}, "items": [{"key": "token", "path": "npm"}]}});
    harness
        .make_build("fails", spec(&repository, &commit, secrets))
        .await?;
    let builder = harness.builder("a", &[])?;
    assert_eq!(
        harness.build(&builder, "fails", Trigger::Change).await?,
        Outcome::Recorded
    );
    let image = harness.build_status("fails").await?;
    let failure = &image["failure"];
    assert_eq!(
        (&image["state"], &failure["code"]),
        (&json!("Error"), &json!("E#1011")),
        "{image:#}"
    );
    assert_eq!(
        (&failure["line"], &failure["exitCode"]),
        (&json!(2), &json!(7)),
        "{image:#}"
    );
    ensure!(
        failure["step"]
            .as_str()
            .is_some_and(|step| step.contains("RUN --mount=type=secret,id=npm")),
        "{image:#}"
    );
    assert_eq!(failure["logTail"], json!(["***"]), "{image:#}");
    ensure!(
        !image.to_string().contains("SEQCANARY") && image["claim"].is_null(),
        "{image:#}"
    );
    // Whoever followed the log saw the step, and no secret either.
    let log = harness
        .log(image["log"].as_str().unwrap_or_default())
        .await?;
    ensure!(
        log.contains("RUN --mount=type=secret")
            && log.contains("***")
            && !log.contains("SEQCANARY"),
        "{log}"
    );
    // It is not tried again before its time.
    assert_eq!(
        harness.build(&builder, "fails", Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(harness.build_status("fails").await?["rev"], image["rev"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_too_long_is_e1018_and_one_without_its_dockerfile_e1008() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 1000\n").await?;
    harness
        .config_map("reserved", json!({RESERVED: "another's"}))
        .await?;
    harness
        .config_map("plain", json!({"x": "another's"}))
        .await?;
    harness
        .make_build("slow", spec(&repository, &commit, json!({})))
        .await?;
    let builder = harness.builder("a", &["--max-timeout=5s"])?;
    assert_eq!(
        harness.build(&builder, "slow", Trigger::Change).await?,
        Outcome::Recorded
    );
    let image = harness.build_status("slow").await?;
    assert_eq!(
        (&image["failure"]["code"], &image["claim"], &image["step"]),
        (&json!("E#1018"), &json!(null), &json!(null)),
        "{image:#}"
    );
    for (name, more, code) in [
        ("no-file", json!({"dockerfile": "No"}), "E#1008"),
        ("no-folder", json!({"context": "no/folder"}), "E#1008"),
        (
            "no-secret",
            json!({"secrets": {"valuesFrom": {"secretRef": {"name": "none"}}}}),
            "E#1007",
        ),
        (
            "no-map",
            json!({"args": {"valuesFrom": {"configMapRef": {"name": "none"}}}}),
            "E#1001",
        ),
        (
            "reserved",
            json!({"args": {"valuesFrom": {"configMapRef": {"name": "reserved"}}}}),
            "E#6043",
        ),
        (
            "renamed",
            json!({"args": {"valuesFrom": {"configMapRef": {"name": "plain"}}, "items": [{"key": "x", "path": RESERVED}]}}),
            "E#6043",
        ),
    ] {
        harness
            .make_build(name, spec(&repository, &commit, more))
            .await?;
        assert_eq!(
            harness.build(&builder, name, Trigger::Change).await?,
            Outcome::Recorded
        );
        assert_eq!(
            harness.build_status(name).await?["retry"]["code"],
            json!(code)
        );
    }
    let unknown = "a".repeat(40);
    harness
        .make_build("no-commit", spec(&repository, &unknown, json!({})))
        .await?;
    assert_eq!(
        harness
            .build(&builder, "no-commit", Trigger::Change)
            .await?,
        Outcome::Recorded
    );
    assert_eq!(
        harness.build_status("no-commit").await?["retry"]["code"],
        json!("E#1012")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buildkit_that_is_killed_is_e1023_and_the_build_goes_on_at_once() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 4713\n").await?;

    harness
        .make_build("lost", spec(&repository, &commit, json!({})))
        .await?;

    let builder = harness.builder("a", &[])?;
    let kill = async {
        until("a step runs", async || {
            Ok(Command::new("pgrep")
                .args(["-f", "^sleep 4713$"])
                .status()
                .is_ok_and(|found| found.success()))
        })
        .await?;
        // By its socket, which is this test's own.
        let socket = harness.daemon.as_ref().context("no BuildKit")?.address();
        Ok::<_, anyhow::Error>(
            Command::new("pkill")
                .args(["-KILL", "-f", socket.trim_start_matches("unix://")])
                .status()?,
        )
    };

    let (outcome, killed) = tokio::join!(harness.build(&builder, "lost", Trigger::Change), kill);
    ensure!(killed?.success(), "BuildKit was not there");
    assert_eq!(outcome?, Outcome::Recorded);
    let image = harness.build_status("lost").await?;
    assert_eq!(
        (&image["failure"]["code"], &image["state"]),
        (&json!("E#1023"), &json!("InProgress")),
        "{image:#}"
    );

    let next: jiff::Timestamp = serde_json::from_value(image["retry"]["nextAttemptAt"].clone())?;
    ensure!(
        next <= jiff::Timestamp::now() && image["claim"].is_null(),
        "{image:#}"
    );
    Ok(())
}
