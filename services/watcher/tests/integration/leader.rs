//! Several watchers, and servers that do not answer.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use sequencer_api::Component;

use crate::harness::{Harness, until};
use crate::life::plain;
use crate::services::well;

/// How long a lease lasts, and the most that a takeover may need beside it.
const LEASE: Duration = Duration::from_secs(15);
const BESIDE: Duration = Duration::from_secs(5);

/// So many Workspaces that waiting for NATS with each of them would be noticed: it is asked for five
/// seconds.
const WORKSPACES: usize = 45;

/// The most that it takes until all of these are decided.
const DECIDED: Duration = Duration::from_secs(20);

async fn holder(harness: &Harness) -> Result<Option<String>> {
    let lease = harness.all::<Lease>().get_opt("watcher").await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity))
}

/// Whether the Components of a Workspace that was just made are made.
async fn works(harness: &Harness, name: &str) -> Result<()> {
    harness.workspace(name, plain()).await?;
    until(&format!("the Components of {name} are made"), async || {
        let all = harness.all::<Component>().list(&Default::default()).await?;
        let ours = |found: &&Component| found.name_any().starts_with(name);
        Ok(all.items.iter().filter(ours).count() == 3)
    })
    .await
}

/// Sends a signal to a part of the lab.
fn signal(harness: &Harness, part: &str, signal: &str) -> Result<()> {
    let process = harness.alone.pid(part).context("it does not run")?;
    let mut kill = Command::new("kill");
    let sent = kill.args([signal, &process.to_string()]).status()?;
    ensure!(sent.success(), "{sent}");
    Ok(())
}

/// A process that ends with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn of_two_watchers_one_leads_and_the_other_takes_over_within_the_lease() -> Result<()> {
    let mut harness = Harness::new().await?;
    works(&harness, "first").await?;
    let _second = Process(harness.process("watcher-1", 8081)?);
    assert_eq!(holder(&harness).await?.as_deref(), Some("watcher-0"));

    harness.kill()?;
    let killed = Instant::now();

    lab::until::holds_within("the second leads", LEASE + BESIDE, async || {
        Ok(holder(&harness).await?.as_deref() == Some("watcher-1"))
    })
    .await?;
    works(&harness, "second").await?;
    ensure!(
        killed.elapsed() < LEASE + 2 * BESIDE,
        "{:?}",
        killed.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_ended_hands_over_at_once() -> Result<()> {
    let mut harness = Harness::new().await?;
    works(&harness, "first").await?;
    let _second = Process(harness.process("watcher-1", 8081)?);

    harness.stop()?;
    lab::until::holds_within("the second leads", BESIDE, async || {
        Ok(holder(&harness).await?.as_deref() == Some("watcher-1"))
    })
    .await?;
    works(&harness, "second").await
}

#[tokio::test]
async fn a_leader_that_is_killed_in_the_middle_of_twenty_workspaces_leaves_none_behind()
-> Result<()> {
    let mut harness = Harness::new().await?;
    harness.play(well).await?;
    let _second = Process(harness.process("watcher-1", 8081)?);
    let names: Vec<_> = (0..20).map(|number| format!("preview-{number}")).collect();
    let (first, rest) = names.split_at(10);
    for name in first {
        harness.workspace(name, plain()).await?;
    }

    harness.kill()?;
    for name in rest {
        harness.workspace(name, plain()).await?;
    }

    for name in &names {
        harness.ready(name, "True", "Healthy").await?;
    }

    Ok(())
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_for_longer_than_the_lease_ends_nothing() -> Result<()> {
    let mut harness = Harness::new().await?;
    works(&harness, "before").await?;
    let mut second = Process(harness.process("watcher-1", 8081)?);
    signal(&harness, "apiserver", "-STOP")?;
    tokio::time::sleep(LEASE + BESIDE).await;
    signal(&harness, "apiserver", "-CONT")?;

    works(&harness, "after").await?;
    ensure!(harness.runs()?, "the first watcher ended");
    ensure!(second.0.try_wait()?.is_none(), "the second watcher ended");
    Ok(())
}

#[tokio::test]
async fn a_nats_that_does_not_answer_holds_up_no_decision_and_hears_of_all_of_them_later()
-> Result<()> {
    let harness = Harness::new().await?;
    works(&harness, "before").await?;

    signal(&harness, "nats", "-STOP")?;
    for index in 0..WORKSPACES {
        harness.workspace(&format!("w{index}"), plain()).await?;
    }
    let decided = async || {
        let all = harness.all::<Component>().list(&Default::default()).await?;
        let is_decided = |found: &&Component| {
            let status = found.status.as_ref();
            found.name_any().starts_with('w')
                && status.is_some_and(|status| status.observed_generation > 0)
        };
        Ok(all.items.iter().filter(is_decided).count() == 3 * WORKSPACES)
    };
    lab::until::holds_within("all is decided", DECIDED, decided).await?;
    signal(&harness, "nats", "-CONT")?;

    harness.play(well).await?;
    for index in 0..WORKSPACES {
        harness
            .ready(&format!("w{index}"), "True", "Healthy")
            .await?;
    }
    Ok(())
}
