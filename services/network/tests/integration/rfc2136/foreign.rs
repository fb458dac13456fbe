//! Records and marks that are not ours, or not any more.

use anyhow::Result;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_network::dns::{Provider as _, RecordType, Wanted, owned};
use sequencer_network::mark::Mark;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;

use super::{ZONE, server, targets, wanted};
use crate::harness::{Harness, Host};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_is_e3020_and_left_alone_until_it_goes() -> Result<()> {
    let harness = Harness::new().await?;
    let (host, bind) = (Host::new(ZONE), server(&harness.secrets.tsig, "seq").await?);
    let theirs = wanted(&host, RecordType::A, "192.0.2.1", "other");
    bind.put(&theirs, &bind.observe(&theirs).await?, &[])
        .await?;

    let record = harness.record(&host, "CNAME", "target.example").await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );
    let failed = harness.recorded(&record).await?;
    assert_eq!(
        (failed.section.state, failed.section.retry.unwrap().code),
        (Some(State::Error), Code::HostTaken)
    );
    assert_eq!(failed.failure.unwrap().code, Code::HostTaken);
    assert_eq!(targets(&bind, &theirs).await?, ["192.0.2.1"]);

    // Its deletion would not touch it either; but first it goes by itself.
    let seen = bind.observe(&theirs).await?;
    bind.delete(&theirs, &seen, &owned(&theirs, &seen)).await?;
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Completed)
    );
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert!(targets(&bind, &theirs).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_mark_of_another_cluster_is_e3020_with_or_without_a_record() -> Result<()> {
    let harness = Harness::new().await?;
    let (host, bind) = (Host::new(ZONE), server(&harness.secrets.tsig, "seq").await?);
    // Our own Workspace's uid, and another cluster's id: a text alone, where our mark would be.
    let forged = Mark {
        cluster: "other".into(),
        owner: host.owner.clone(),
    };
    let text = Wanted {
        fqdn: format!("_seq.{}", host.fqdn()),
        mark: forged.clone(),
        ..wanted(&host, RecordType::Txt, &forged.to_string(), "other")
    };
    bind.put(&text, &bind.observe(&text).await?, &[]).await?;
    let ours = wanted(&host, RecordType::A, "192.0.2.7", "c1");
    let record = harness.record(&host, "A", "192.0.2.7").await?;
    let refused = async |trigger: Trigger| -> Result<()> {
        assert_eq!(harness.dns(&record, trigger).await, Outcome::Recorded);
        let failed = harness.recorded(&record).await?;
        assert_eq!(
            (failed.section.state, failed.section.retry.unwrap().code),
            (Some(State::Error), Code::HostTaken)
        );
        Ok(())
    };
    refused(Trigger::Change).await?;
    let seen = bind.observe(&ours).await?;
    assert_eq!(
        (seen.records.len(), &seen.notes),
        (0, &vec![forged.to_string()])
    );

    // It goes, our record is made, and it comes again beside our mark.
    let seen = bind.observe(&text).await?;
    bind.delete(&text, &seen, &owned(&text, &seen)).await?;
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    let seen = bind.observe(&text).await?;
    bind.put(&text, &seen, &[]).await?;
    refused(Trigger::Retry).await?;
    let seen = bind.observe(&ours).await?;
    assert_eq!((seen.records.len(), seen.notes.len()), (1, 2));

    // What two clusters claim is deleted by neither.
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert_eq!(bind.observe(&ours).await?.records.len(), 1);
    let seen = bind.observe(&text).await?;
    bind.delete(&text, &seen, &owned(&text, &seen)).await?;
    let seen = bind.observe(&ours).await?;
    bind.delete(&ours, &seen, &seen.records).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_leaves_what_does_not_carry_our_mark() -> Result<()> {
    let harness = Harness::new().await?;
    let (host, bind) = (Host::new(ZONE), server(&harness.secrets.tsig, "seq").await?);
    let theirs = wanted(&host, RecordType::A, "192.0.2.1", "other");
    bind.put(&theirs, &bind.observe(&theirs).await?, &[])
        .await?;
    let record = harness.record(&host, "A", "192.0.2.1").await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Gone)
    );
    assert_eq!(targets(&bind, &theirs).await?, ["192.0.2.1"]);
    let seen = bind.observe(&theirs).await?;
    bind.delete(&theirs, &seen, &owned(&theirs, &seen)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_this_cluster_is_adopted_when_its_owner_is_gone_and_only_then() -> Result<()> {
    let harness = Harness::new().await?;
    let bind = server(&harness.secrets.tsig, "seq").await?;
    let alive = harness.workspace("other", "alive").await?;
    let host = Host {
        owner: alive.metadata.uid.clone().unwrap(),
        ..Host::new(ZONE)
    };
    let theirs = wanted(&host, RecordType::A, "192.0.2.1", "c1");
    bind.put(&theirs, &bind.observe(&theirs).await?, &[])
        .await?;

    let ours = Host {
        owner: Host::new(ZONE).owner,
        ..host.clone()
    };
    let record = harness.record(&ours, "CNAME", "target.example").await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );
    assert_eq!(
        harness.recorded(&record).await?.section.retry.unwrap().code,
        Code::HostTaken
    );
    assert_eq!(targets(&bind, &theirs).await?, ["192.0.2.1"]);

    harness
        .api::<sequencer_api::Workspace>("other")
        .delete("alive", &kube::api::DeleteParams::default())
        .await?;
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    let seen = bind
        .observe(&wanted(&ours, RecordType::Cname, "", "c1"))
        .await?;
    assert_eq!(seen.notes, [format!("seq:v1:c1:{}", ours.owner)]);
    assert_eq!(
        seen.records
            .iter()
            .map(|record| record.target.as_str())
            .collect::<Vec<_>>(),
        ["target.example"]
    );
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    Ok(())
}
