//! A record of our own, from its creation to its deletion.

use anyhow::Result;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_network::dns::{Provider as _, RecordType};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use super::{ZONE, server, targets, wanted};
use crate::harness::{Harness, Host, RELEASE};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_made_once_updated_in_place_and_deleted_with_its_mark() -> Result<()> {
    let harness = Harness::new().await?;
    let (host, bind) = (Host::new(ZONE), server(&harness.secrets.tsig, "seq").await?);
    let record = harness.record(&host, "A", "192.0.2.7").await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    let made = harness.recorded(&record).await?;
    assert_eq!(
        (made.section.state, made.section.claim.clone()),
        (Some(State::Completed), None)
    );
    assert_eq!(
        (made.provider.as_deref(), made.nameservers.len()),
        (Some("lab"), 1)
    );

    let ours = wanted(&host, RecordType::A, "192.0.2.7", "c1");
    let seen = bind.observe(&ours).await?;

    assert_eq!(
        (seen.records.len(), seen.notes),
        (1, vec![ours.mark.to_string()])
    );

    // Delivered twice: nothing is written.
    assert_eq!(harness.dns(&record, Trigger::Resync).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.rev,
        made.section.rev
    );

    let patched = harness
        .patch(RELEASE, &record, json!({"spec": {"target": "192.0.2.8"}}))
        .await?;

    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    let changed = harness.recorded(&record).await?;
    assert_eq!(
        changed.section.observed_generation,
        patched.metadata.generation
    );
    assert_eq!(targets(&bind, &ours).await?, ["192.0.2.8"]);

    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    let gone = harness.recorded(&record).await?;
    assert_eq!(
        (gone.section.state, gone.deleted_at.is_some()),
        (Some(State::Gone), true)
    );

    let seen = bind.observe(&ours).await?;
    assert!(seen.records.is_empty() && seen.notes.is_empty(), "{seen:?}");
    assert_eq!(harness.dns(&record, Trigger::Resync).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.rev,
        gone.section.rev
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_both_kinds_share_a_mark_and_the_last_takes_it_along() -> Result<()> {
    let harness = Harness::new().await?;
    let (host, bind) = (Host::new(ZONE), server(&harness.secrets.tsig, "seq").await?);
    let (four, six) = (
        harness.record(&host, "A", "192.0.2.7").await?,
        harness.record(&host, "AAAA", "2001:db8::7").await?,
    );
    assert_eq!(harness.dns(&four, Trigger::Change).await, Outcome::Done);
    assert_eq!(harness.dns(&six, Trigger::Change).await, Outcome::Done);
    let ours = wanted(&host, RecordType::A, "192.0.2.7", "c1");
    assert_eq!(targets(&bind, &ours).await?, ["192.0.2.7", "2001:db8::7"]);
    harness.delete(&four).await?;
    assert_eq!(harness.dns(&four, Trigger::Change).await, Outcome::Done);
    let seen = bind.observe(&ours).await?;
    assert_eq!((seen.records.len(), seen.notes.len()), (1, 1));
    harness.delete(&six).await?;
    assert_eq!(harness.dns(&six, Trigger::Change).await, Outcome::Done);
    let seen = bind.observe(&ours).await?;
    assert!(seen.records.is_empty() && seen.notes.is_empty(), "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_object_that_is_meant_and_may_be_worked_at_is_worked_at() -> Result<()> {
    let harness = Harness::new().await?;
    let record = harness.record(&Host::new(ZONE), "A", "192.0.2.7").await?;
    let mut other = record.clone();
    other.metadata.uid = Some(Host::new(ZONE).owner);
    assert_eq!(harness.dns(&other, Trigger::Change).await, Outcome::Gone);

    // Another pod has it.
    let taken = json!({"status": {"record": {"rev": 1, "state": "InProgress", "claim": {
        "holder": "network-b/12345678", "until": "2099-01-01T00:00:00Z", "attempts": 0,
    }}}});
    let api = harness.api::<sequencer_api::DNSRecord>(RELEASE);
    let patch = kube::api::Patch::Merge(taken);
    api.patch_status(
        record.metadata.name.as_deref().unwrap(),
        &kube::api::PatchParams::default(),
        &patch,
    )
    .await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::ClaimedElsewhere
    );
    assert_eq!(harness.recorded(&record).await?.section.rev, 1);

    // Without its finalizer nothing may be made outside.
    let record = harness
        .patch(RELEASE, &record, json!({"metadata": {"finalizers": null}}))
        .await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Stale);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_zone_needs_no_provider_and_one_that_is_not_granted_is_e6051() -> Result<()> {
    let harness = Harness::new().await?;
    let record = harness
        .record(&Host::new("wild.test"), "CNAME", "ingress.example")
        .await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    let made = harness.recorded(&record).await?;
    assert_eq!(
        (made.section.state, made.section.rev),
        (Some(State::Completed), 1)
    );
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Gone)
    );

    for host in [
        Host::new("nobody.test"),
        Host {
            namespace: "other",
            ..Host::new("yourdomain.com")
        },
    ] {
        let record = harness.record(&host, "CNAME", "ingress.example").await?;
        assert_eq!(
            harness.dns(&record, Trigger::Change).await,
            Outcome::Recorded
        );
        assert_eq!(
            harness.recorded(&record).await?.section.retry.unwrap().code,
            Code::ZoneNotGranted
        );
        // Nothing was ever made, so nothing has to be deleted.
        harness.delete(&record).await?;
        assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    }
    assert_eq!(harness.admin("counters").await?["calls"], json!({}));
    Ok(())
}
