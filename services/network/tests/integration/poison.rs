//! Work whose process ends before it can be recorded, again and again.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::status::{Section, State};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::harness::{Harness, Host, ZONE, until};
use crate::preview::Preview;

const TARGET: &str = "6ff42ae2-0000-4000-8000-000000000000.cfargotunnel.com";

/// Begins the work, and drops it once its claim is written: eight times.
async fn crash(
    work: impl AsyncFn() -> Outcome,
    section: impl AsyncFn() -> Result<Section>,
) -> Result<()> {
    for attempts in 0..8 {
        let claimed = until("it is claimed", async || {
            let claim = section().await?.claim;
            ensure!(
                claim.is_some_and(|claim| claim.attempts == attempts),
                "not yet"
            );
            Ok(())
        });
        tokio::select! {
            outcome = work() => anyhow::bail!("attempt {attempts} came to {outcome:?}"),
            claimed = claimed => claimed?,
        }
    }
    Ok(())
}

fn ensure_poisonous(section: &Section) {
    assert_eq!((section.state, &section.claim), (Some(State::Error), &None));
    let retry = section.retry.as_ref().unwrap();
    let next = retry.next_attempt_at.as_ref().unwrap();
    let minutes = next.0.duration_since(Timestamp::now()).as_mins();

    assert!(
        retry.code == Code::WorkInterrupted && (8..=10).contains(&minutes),
        "{retry:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_claims_end_in_nothing_is_e6101_after_eight_and_heals_when_somebody_asks()
-> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    let record = harness.record(&host, "CNAME", TARGET).await?;
    let section = async || Ok(harness.recorded(&record).await?.section);

    harness
        .faults(json!([{"path": "/**", "delay_ms": 60000}]))
        .await?;

    crash(
        async || harness.dns(&record, Trigger::Resync).await,
        section,
    )
    .await?;
    harness.faults(json!([])).await?;
    assert_eq!(
        harness.dns(&record, Trigger::Resync).await,
        Outcome::Recorded
    );

    let poisonous = section().await?;
    ensure_poisonous(&poisonous);
    // Until its time comes it is let alone.
    assert_eq!(harness.dns(&record, Trigger::Resync).await, Outcome::Done);
    assert_eq!(
        (
            section().await?.rev,
            harness.counted("records", "creates", &host.fqdn()).await?
        ),
        (poisonous.rev, 0)
    );

    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(section().await?.state, Some(State::Completed));
    harness
        .faults(json!([{"path": "/**", "delay_ms": 60000}]))
        .await?;
    harness.delete(&record).await?;
    crash(
        async || harness.dns(&record, Trigger::Change).await,
        section,
    )
    .await?;
    harness.faults(json!([])).await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );
    ensure_poisonous(&section().await?);
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(section().await?.state, Some(State::Gone));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_whose_claims_end_in_nothing_is_e6101_after_eight_and_heals_when_somebody_asks()
-> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let section = async || Ok(preview.recorded().await?.section);

    // What only asks needs no claim.
    harness
        .faults(json!([{"method": "POST", "path": "/**", "delay_ms": 60000}]))
        .await?;
    crash(async || preview.handle(Trigger::Resync).await, section).await?;
    harness.faults(json!([])).await?;
    assert_eq!(preview.handle(Trigger::Resync).await, Outcome::Recorded);
    let poisonous = preview.recorded().await?;
    ensure_poisonous(&poisonous.section);
    // What was intended is not forgotten.
    assert_eq!(
        (poisonous.intents.len(), preview.counted("creates").await?),
        (1, 0)
    );
    assert_eq!(preview.handle(Trigger::Resync).await, Outcome::Done);
    assert_eq!(section().await?.rev, poisonous.section.rev);

    let connector = preview.connect().await?;

    assert_eq!(
        (section().await?.state, preview.live().await?.len()),
        (Some(State::Completed), 1)
    );
    connector.stop().await;
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    preview.let_go().await?;
    harness
        .faults(json!([{"path": "/**", "delay_ms": 60000}]))
        .await?;
    crash(async || preview.handle(Trigger::Retry).await, section).await?;
    harness.faults(json!([])).await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Recorded);
    ensure_poisonous(&section().await?);
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    assert!(preview.is_gone().await? && preview.live().await?.is_empty());
    Ok(())
}
