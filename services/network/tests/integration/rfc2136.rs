//! Records by signed updates, on the cluster's bind9.

use anyhow::Result;
use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::provider::{Rfc2136, TsigAlgorithm};
use sequencer_api::secret::SecretKeyRef;
use sequencer_api::status::State;
use sequencer_network::dns::rfc2136::Server;
use sequencer_network::dns::{Provider as _, Record, RecordType, Wanted, owned};
use sequencer_network::mark::Mark;
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::Failure as _;
use serde_json::json;

use crate::harness::{BIND, Harness, Host, RELEASE, delivery};

const ZONE: &str = "preview.test";

/// A client of the test's own, with the right key unless another is given.
async fn server(secret: &str, key: &str) -> Result<Server> {
    let provider = Rfc2136 {
        nameserver: BIND.into(),
        tsig_key_name: key.into(),
        tsig_algorithm: TsigAlgorithm::Sha256,
        tsig_secret_secret_ref: SecretKeyRef {
            name: "tsig".into(),
            namespace: None,
            key: "secret".into(),
        },
    };
    Ok(Server::new(&provider, &secret.into()).await?)
}

fn wanted(host: &Host, kind: RecordType, target: &str, cluster: &str) -> Wanted {
    Wanted {
        zone: ZONE.into(),
        fqdn: host.fqdn(),
        kind,
        target: target.into(),
        ttl: 60,
        proxied: false,
        mark: Mark {
            cluster: cluster.into(),
            owner: host.owner.clone(),
        },
    }
}

async fn targets(server: &Server, wanted: &Wanted) -> Result<Vec<String>> {
    Ok(server
        .observe(wanted)
        .await?
        .records
        .into_iter()
        .map(|record| record.target)
        .collect())
}

fn wrong_key() -> &'static str {
    "d3JvbmcgYnV0IG9mIHRoZSByaWdodCBsZW5ndGggISE="
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_e3007_and_heals_when_the_secret_changes() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);

    harness
        .secret(RELEASE, "tsig", "secret", wrong_key())
        .await?;

    let record = harness.record(&host, "A", "192.0.2.7").await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );

    let failed = harness.recorded(&record).await?;
    let retry = failed.section.retry.unwrap();
    assert_eq!((retry.code, retry.attempts), (Code::DnsProviderRefused, 1));
    assert!(
        retry.secret_versions.contains_key("sequencer-system/tsig"),
        "{retry:?}"
    );

    // Before its time and with the same Secret, nothing is tried.
    let long = harness.replica(&["--min-backoff=10m"])?;
    assert_eq!(
        long.handle(delivery(Verb::Dns, RELEASE, &record, Trigger::Retry))
            .await,
        Outcome::Recorded
    );

    let waiting = harness.recorded(&record).await?.section;
    assert!(waiting.retry.as_ref().unwrap().next_attempt_at.0 > Timestamp::now());
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert_eq!(harness.recorded(&record).await?.section.rev, waiting.rev);

    harness
        .secret(RELEASE, "tsig", "secret", &harness.secrets.tsig)
        .await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    let healed = harness.recorded(&record).await?;
    assert_eq!(
        (healed.section.state, healed.section.retry, healed.failure),
        (Some(State::Completed), None, None)
    );
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_e1007() -> Result<()> {
    let harness = Harness::new().await?;
    let api = harness.api::<k8s_openapi::api::core::v1::Secret>(RELEASE);

    api.delete("tsig", &kube::api::DeleteParams::default())
        .await?;

    let record = harness.record(&Host::new(ZONE), "A", "192.0.2.7").await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );

    let retry = harness.recorded(&record).await?.section.retry.unwrap();
    assert_eq!(
        (
            retry.code,
            retry.secret_versions["sequencer-system/tsig"].as_str()
        ),
        (Code::SecretNotFound, "")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_compares_before_it_sets() -> Result<()> {
    let harness = Harness::new().await?;
    let (host, bind) = (Host::new(ZONE), server(&harness.secrets.tsig, "seq").await?);
    let (first, second) = (
        wanted(&host, RecordType::A, "192.0.2.1", "a"),
        wanted(&host, RecordType::A, "192.0.2.2", "b"),
    );
    // Both look before either acts.
    let (seen, stale) = (bind.observe(&first).await?, bind.observe(&second).await?);
    bind.put(&first, &seen, &[]).await?;
    let refused = bind.put(&second, &stale, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ProviderUnavailable);
    assert_eq!(targets(&bind, &first).await?, ["192.0.2.1"]);
    // What was seen before it changed is not deleted.
    let seen = bind.observe(&first).await?;
    let old = Record {
        target: "192.0.2.9".into(),
        ..seen.records[0].clone()
    };

    let stale = sequencer_network::dns::Seen {
        records: vec![old.clone()],
        ..seen.clone()
    };

    assert!(bind.delete(&first, &stale, &[old]).await.is_err());
    assert_eq!(targets(&bind, &first).await?, ["192.0.2.1"]);
    bind.delete(&first, &seen, &owned(&first, &seen)).await?;
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
async fn every_refusal_of_the_server_has_its_code() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    let ours = wanted(&host, RecordType::A, "192.0.2.1", "c1");
    let elsewhere = Wanted {
        zone: "elsewhere.test".into(),
        fqdn: "x.elsewhere.test".into(),
        ..ours.clone()
    };

    let seen = sequencer_network::dns::Seen::default();
    let (good, bad, unknown) = (
        server(&harness.secrets.tsig, "seq").await?,
        server(wrong_key(), "seq").await?,
        server(&harness.secrets.tsig, "nobody").await?,
    );

    for (case, refused) in [
        ("BADSIG", bad.put(&ours, &seen, &[]).await),
        ("BADKEY", unknown.put(&ours, &seen, &[]).await),
        ("NOTAUTH", good.put(&elsewhere, &seen, &[]).await),
    ] {
        assert_eq!(
            refused.unwrap_err().code(),
            Code::DnsProviderRefused,
            "{case}"
        );
    }

    assert!(server("no base64!", "seq").await.is_err());

    // An alias beside anything else: the server would leave it out without a word.
    let apex = Wanted {
        fqdn: format!("ns.{ZONE}"),
        kind: RecordType::Cname,
        target: "t.example".into(),
        ..ours
    };

    assert_eq!(
        good.put(&apex, &seen, &[])
            .await
            .unwrap_err()
            .code()
            .number(),
        3020
    );
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
