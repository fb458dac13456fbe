//! Records at Cloudflare's stand-in.

use anyhow::Result;
use jiff::Timestamp;
use reqwest::Method;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, Host, RELEASE, ZONE, delivery, until};

const TARGET: &str = "6ff42ae2-0000-4000-8000-000000000000.cfargotunnel.com";

async fn live(harness: &Harness, host: &Host) -> Result<Vec<Value>> {
    let path = format!(
        "/zones/{}/dns_records?name.exact={}",
        harness.cloud.zone_id(),
        host.fqdn()
    );
    Ok(harness
        .call(Method::GET, &path, &Value::Null)
        .await?
        .as_array()
        .cloned()
        .unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_made_once_with_our_mark_and_its_name_servers_are_asked() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    let record = harness.record(&host, "CNAME", TARGET).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    // The claim, and that it is done.
    harness.wrote([("patch dnsrecords/status", 2)]).await?;
    let made = harness.recorded(&record).await?;
    assert_eq!(made.section.state, Some(State::Completed));
    assert_eq!(
        made.nameservers,
        ["anna.ns.cloudflare.com", "bert.ns.cloudflare.com"]
    );

    let found = live(&harness, &host).await?;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["content"], &found[0]["proxied"]),
        (&json!(TARGET), &json!(true))
    );
    assert_eq!(
        found[0]["comment"],
        json!(format!("seq:v1:c1:{}", host.owner))
    );
    assert_eq!(made.remote_id.as_deref(), found[0]["id"].as_str());

    assert_eq!(harness.dns(&record, Trigger::Resync).await, Outcome::Done);
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(
        harness.counted("records", "creates", &host.fqdn()).await?,
        1
    );
    assert_eq!(
        harness.counted("records", "updates", &host.fqdn()).await?,
        0
    );

    // What somebody changed by hand is put right when it is looked at.
    let path = format!(
        "/zones/{}/dns_records/{}",
        harness.cloud.zone_id(),
        made.remote_id.unwrap()
    );

    harness
        .call(
            Method::PATCH,
            &path,
            &json!({"content": "elsewhere.example"}),
        )
        .await?;
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(live(&harness, &host).await?[0]["content"], json!(TARGET));

    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Gone)
    );
    assert!(live(&harness, &host).await?.is_empty());
    assert_eq!(
        harness.counted("records", "deletes", &host.fqdn()).await?,
        1
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_no_second_record() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);

    harness
        .faults(json!([{"method": "POST", "path": "/zones/*/dns_records", "times": 1, "lost_response": true}]))
        .await?;

    let record = harness.record(&host, "CNAME", TARGET).await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );

    let retry = harness.recorded(&record).await?.section.retry.unwrap();
    assert_eq!(retry.code, Code::ProviderUnavailable);
    // Not before whatever is still under way has its outcome.
    assert!(
        retry.next_attempt_at.clone().unwrap().0
            > Timestamp::now() + jiff::SignedDuration::from_secs(5),
        "{retry:?}"
    );
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(
        harness.counted("records", "creates", &host.fqdn()).await?,
        1
    );
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Completed)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_makes_no_second_record() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);

    harness
        .faults(json!([{"method": "GET", "path": "/zones/*/dns_records", "list_lag_ms": 60000}]))
        .await?;

    let record = harness.record(&host, "CNAME", TARGET).await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );
    assert_eq!(
        harness.dns(&record, Trigger::Retry).await,
        Outcome::Recorded
    );
    assert_eq!(
        harness
            .recorded(&record)
            .await?
            .section
            .retry
            .unwrap()
            .attempts,
        2
    );
    harness.faults(json!([])).await?;
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(
        harness.counted("records", "creates", &host.fqdn()).await?,
        1
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_it_is_made_is_undone_at_once() -> Result<()> {
    let harness = Harness::new().await?;

    for orphan in [false, true] {
        let host = Host::new(ZONE);
        let record = harness.record(&host, "CNAME", TARGET).await?;

        harness.faults(json!([{"method": "POST", "path": "/zones/*/dns_records", "times": 1, "delay_ms": 1500}])).await?;
        let calls = "POST /zones/{zone_id}/dns_records";
        let before = harness.admin("counters").await?["calls"][calls]
            .as_u64()
            .unwrap_or(0);
        let deletion = async {
            until("it is being made", async || {
                let calls = harness.admin("counters").await?["calls"][calls]
                    .as_u64()
                    .unwrap_or(0);
                anyhow::ensure!(calls > before, "not yet");
                Ok(())
            })
            .await?;
            harness.delete(&record).await?;
            if orphan {
                // Somebody even took its finalizer.
                harness
                    .patch(RELEASE, &record, json!({"metadata": {"finalizers": null}}))
                    .await?;
            }

            anyhow::Ok(())
        };

        let (outcome, deleted) = tokio::join!(harness.dns(&record, Trigger::Change), deletion);
        deleted?;
        assert_eq!(outcome, if orphan { Outcome::Gone } else { Outcome::Done });
        assert_eq!(
            harness.counted("records", "creates", &host.fqdn()).await?,
            1
        );
        assert_eq!(
            harness.counted("records", "deletes", &host.fqdn()).await?,
            1
        );

        if !orphan {
            assert_eq!(
                harness.recorded(&record).await?.section.state,
                Some(State::Gone)
            );
        }
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_while_it_is_made_points_to_where_it_shall_now() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    let record = harness.record(&host, "CNAME", TARGET).await?;
    let other = TARGET.replace("6ff42ae2", "7ff42ae2");

    harness.faults(json!([{"method": "POST", "path": "/zones/*/dns_records", "times": 1, "delay_ms": 1500}])).await?;
    let edit = async {
        until("it is being made", async || {
            anyhow::ensure!(
                harness.recorded(&record).await?.section.claim.is_some(),
                "not yet"
            );
            Ok(())
        })
        .await?;
        let spec = json!({"spec": {"target": other}});
        harness.patch(RELEASE, &record, spec).await
    };
    let (outcome, edited) = tokio::join!(harness.dns(&record, Trigger::Change), edit);
    edited?;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.observed_generation,
        record.metadata.generation
    );

    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    let live = live(&harness, &host).await?;
    assert_eq!((live.len(), &live[0]["content"]), (1, &json!(other)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_is_e3020_and_never_touched() -> Result<()> {
    let harness = Harness::new().await?;

    for comment in [
        json!(null),
        json!("seq:v1:other:UID"),
        json!("seq:v2:c1:UID"),
        json!("by hand"),
    ] {
        let host = Host::new(ZONE);
        // Even of another cluster's Workspace that has the uid of ours.
        let comment = comment
            .as_str()
            .map(|comment| comment.replace("UID", &host.owner));
        let body =
            json!({"type": "A", "name": host.fqdn(), "content": "192.0.2.1", "comment": comment});
        harness
            .call(
                Method::POST,
                &format!("/zones/{}/dns_records", harness.cloud.zone_id()),
                &body,
            )
            .await?;
        let record = harness.record(&host, "CNAME", TARGET).await?;
        assert_eq!(
            harness.dns(&record, Trigger::Change).await,
            Outcome::Recorded
        );
        assert_eq!(
            harness.recorded(&record).await?.section.retry.unwrap().code,
            Code::HostTaken
        );
        harness.delete(&record).await?;
        assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
        let found = live(&harness, &host).await?;
        assert_eq!(
            (found.len(), &found[0]["content"]),
            (1, &json!("192.0.2.1"))
        );
        assert_eq!(
            harness.counted("records", "deletes", &host.fqdn()).await?,
            0
        );
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_limits_and_outages_have_their_codes_and_heal() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    let record = harness.record(&host, "CNAME", TARGET).await?;
    let code = async || -> Result<(Code, Timestamp)> {
        let retry = harness.recorded(&record).await?.section.retry.unwrap();
        Ok((retry.code, retry.next_attempt_at.unwrap().0))
    };

    harness
        .secret(
            RELEASE,
            "dns",
            "apiKey",
            "0123456789012345678901234567890123456789",
        )
        .await?;

    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );
    assert_eq!(code().await?.0, Code::DnsProviderRefused);
    harness
        .secret(RELEASE, "dns", "apiKey", &harness.settings.token)
        .await?;

    harness
        .tell("limit", json!({"requests": 0, "window_seconds": 77}))
        .await?;

    assert_eq!(
        harness.dns(&record, Trigger::Retry).await,
        Outcome::Recorded
    );

    let (limited, next) = code().await?;
    let wait = next.duration_since(Timestamp::now()).as_secs();

    assert!(
        limited == Code::ProviderUnavailable && (60..=77).contains(&wait),
        "{limited} in {wait} s"
    );

    harness
        .tell("limit", json!({"requests": 1200, "window_seconds": 300}))
        .await?;

    harness
        .faults(json!([{"path": "/**", "status": 503, "code": 10001, "times": 1}]))
        .await?;

    assert_eq!(
        harness.dns(&record, Trigger::Retry).await,
        Outcome::Recorded
    );
    assert_eq!(code().await?.0, Code::ProviderUnavailable);
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(harness.recorded(&record).await?.section.retry, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_servers_do_not_answer_yet_is_in_progress() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    // A resolver that knows no server of the zone.
    let deaf = harness.replica(&["--resolver=198.18.0.14:53"])?;
    let record = harness.record(&host, "CNAME", TARGET).await?;

    assert_eq!(
        deaf.handle(delivery(Verb::Dns, RELEASE, &record, Trigger::Change))
            .await,
        Outcome::Recorded
    );

    let waiting = harness.recorded(&record).await?;
    assert_eq!(
        (waiting.section.state, waiting.failure),
        (Some(State::InProgress), None)
    );
    assert_eq!(waiting.section.retry.unwrap().code, Code::RecordNotResolved);
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Completed)
    );
    assert_eq!(
        harness.counted("records", "creates", &host.fqdn()).await?,
        1
    );
    Ok(())
}
