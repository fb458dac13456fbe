//! Whoever is stopped in the middle, and whoever comes next.

use anyhow::Result;
use sequencer_api::Build;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::section::StatusPatch;
use serde_json::json;

use crate::harness::{Harness, LASTING, delivery, handle, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_in_the_middle_is_completed_and_no_manifest_is_written_twice() -> Result<()>
{
    let mut harness = Harness::new().await?;
    let (own, staged, build) = harness.entry_with_build(40, 200_000).await?;
    let service = harness.service("a", &["--layers=1"])?;
    // It comes a second time, so it is claimed before anything is done.
    let mut first = Box::pin(service.handle(Delivery {
        again: true,
        ..delivery(&build, Trigger::Change)?
    }));
    let some = until("some layers are there", async || {
        Ok(own.has(&staged.blobs) > 3)
    });

    tokio::select! {
        done = &mut first => anyhow::bail!("it was not stopped: {done:?}"),
        some = some => some?,
    }
    drop(first);
    let there = own.has(&staged.blobs);
    assert!(there < staged.blobs.len() && own.took("PUT /v2/app/manifests/")? == 0);

    // Another pod leaves it alone until the claim is over; this one takes it up at once.
    assert_eq!(
        handle(&*harness.service("b", &[])?, &build, Trigger::Change).await?,
        Outcome::ClaimedElsewhere
    );

    let claim = harness.publish(&build).await?.section.claim;
    assert!(claim.is_some_and(|claim| claim.holder.starts_with("a/")));
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );

    let publish = harness.publish(&build).await?;
    assert_eq!(
        (publish.section.state, publish.section.claim),
        (Some(State::Completed), None)
    );
    harness.check(&format!("{}/app", own.address), &["dev", LASTING], &staged)?;
    // Two children, and the index once for each tag.
    assert_eq!(own.took("PUT /v2/app/manifests/")?, 4);
    assert!(
        own.took("PUT /v2/app/blobs/")? <= staged.blobs.len() + 1,
        "layers were sent again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_renewed_while_it_is_worked_and_a_lost_one_ends_the_work() -> Result<()> {
    let mut harness = Harness::new().await?;
    let (_own, _staged, build) = harness.entry_with_build(40, 100_000).await?;
    let service = harness.service("a", &["--layers=1", "--claim=2s", "--claim-renew=20ms"])?;
    let mut work = Box::pin(service.handle(delivery(&build, Trigger::Change)?));
    let renewed = until("the claim was renewed", async || {
        let publish = harness.publish(&build).await?;
        Ok(publish.section.rev >= 3 && publish.section.claim.is_some())
    });

    tokio::select! {
        done = &mut work => anyhow::bail!("it was over too soon: {done:?}"),
        renewed = renewed => renewed?,
    }

    // Somebody else takes the section.
    let mut other = harness.publish(&build).await?;
    until("somebody else has it", async || {
        let patch = StatusPatch::new(build.metadata.uid.as_deref().unwrap_or_default());
        other = harness.publish(&build).await?;
        other.section.claim.as_mut().unwrap().holder = "b/1".into();
        let patch = patch.section("publish", other.section.rev, &other)?;
        Ok(patch
            .apply(
                &harness.builds,
                build.metadata.name.as_deref().unwrap_or_default(),
            )
            .await
            .is_ok())
    })
    .await?;
    assert_eq!(work.await, Outcome::ClaimedElsewhere);
    let publish = harness.publish(&build).await?;
    assert_eq!(
        publish.section.claim.map(|claim| claim.holder),
        Some("b/1".to_owned())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_ended_eight_times_without_a_record_is_e6101_and_is_left_alone_for_a_while()
-> Result<()> {
    let mut harness = Harness::new().await?;
    let (own, _staged, build) = harness.entry_with_build(1, 1000).await?;
    let service = harness.service("a", &[])?;
    let name = build.metadata.name.clone().unwrap_or_default();
    let claim = async |rev: i64, attempts: i32| -> Result<()> {
        let claim = json!({"holder": "b/1", "until": "2026-01-01T00:00:00Z", "attempts": attempts});
        let section = json!({"state": "InProgress", "observedGeneration": 1, "claim": claim});
        let patch = StatusPatch::new(build.metadata.uid.as_deref().unwrap_or_default());
        let _: Build = patch
            .section("publish", rev, &section)?
            .apply(&harness.builds, &name)
            .await?;
        Ok(())
    };
    claim(0, 7).await?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Recorded
    );
    let poisoned = harness.publish(&build).await?;
    assert_eq!(
        (poisoned.section.state, poisoned.section.claim),
        (Some(State::Error), None)
    );
    assert_eq!(
        poisoned.section.retry.map(|retry| retry.code),
        Some(Code::WorkInterrupted)
    );
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(own.requests()?, 0);

    // One time fewer, and it is taken up.
    claim(2, 6).await?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(
        harness.publish(&build).await?.section.state,
        Some(State::Completed)
    );
    Ok(())
}
