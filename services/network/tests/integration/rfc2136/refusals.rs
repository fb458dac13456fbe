//! What the server refuses, and keys that it does not know.

use anyhow::Result;
use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_network::dns::{Provider as _, Record, RecordType, Wanted, owned};
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::Failure as _;

use super::{ZONE, server, targets, wanted};
use crate::harness::{Harness, Host, RELEASE, delivery};

fn wrong_key() -> &'static str {
    "d3JvbmcgYnV0IG9mIHRoZSByaWdodCBsZW5ndGggISE="
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
    assert!(waiting.retry.clone().unwrap().next_attempt_at.unwrap().0 > Timestamp::now());
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
