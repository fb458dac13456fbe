//! A teardown that something outside holds up, and the way out.

use anyhow::{Context as _, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::status::{Retry, Section, State};
use sequencer_api::{DNSRecord, Workspace, labels};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;
use serde_json::json;

use crate::harness::{Harness, NAMESPACE, until};
use crate::life::sample;
use crate::services::{section, well};

fn failed(generation: Option<i64>) -> Section {
    let retry = Retry {
        attempts: 1,
        since: None,
        next_attempt_at: Some(Time(Timestamp::now() + SignedDuration::from_hours(1))),
        code: Code::DnsProviderRefused,
        message: "the account is closed".into(),
        secret_versions: Default::default(),
    };
    Section {
        retry: Some(retry),
        ..section(State::Error, generation)
    }
}

/// Makes all, and deletes nothing.
async fn stubborn(delivery: Delivery, client: Client) -> Result<()> {
    powerless(delivery, client, false).await
}

/// Makes all, deletes nothing, and gives up what an administrator gave up, as the network service
/// does.
async fn obedient(delivery: Delivery, client: Client) -> Result<()> {
    powerless(delivery, client, true).await
}

async fn powerless(delivery: Delivery, client: Client, obeys: bool) -> Result<()> {
    let (name, namespace) = (&delivery.payload.name, &delivery.payload.namespace);
    let uid = delivery.command.uid().to_string();

    if delivery.command.verb() == Verb::Dns {
        let api: Api<DNSRecord> = Api::namespaced(client.clone(), namespace);
        let found = current(&api, name, &uid).await?.context("gone")?;
        if found.metadata.deletion_timestamp.is_some() {
            let workspace = Api::<Workspace>::namespaced(client, NAMESPACE);
            let given_up = obeys && workspace.get("sample").await?.is_abandoned();
            let mut record = found.status.clone().unwrap_or_default().record;
            let rev = record.section.rev;

            record.section = ended(given_up, found.metadata.generation);
            StatusPatch::new(&uid)
                .section("record", rev, &record)?
                .apply(&api, name)
                .await?;
            return Ok(());
        }
    } else if delivery.command.verb() == Verb::Tunnel {
        let api: Api<Workspace> = Api::namespaced(client.clone(), namespace);
        let found = current(&api, name, &uid).await?.context("gone")?;
        if found.metadata.deletion_timestamp.is_some() {
            let mut tunnel = found.status.clone().unwrap_or_default().tunnel;
            let rev = tunnel.section.rev;

            tunnel.section = ended(obeys && found.is_abandoned(), found.metadata.generation);
            StatusPatch::new(&uid)
                .section("tunnel", rev, &tunnel)?
                .apply(&api, name)
                .await?;
            return Ok(());
        }
    }

    well(delivery, client).await
}

fn ended(given_up: bool, generation: Option<i64>) -> Section {
    if given_up {
        section(State::Abandoned, generation)
    } else {
        failed(generation)
    }
}

async fn give_up(harness: &Harness, uid: &str) -> Result<()> {
    let annotation =
        Patch::Merge(json!({"metadata": {"annotations": {labels::ABANDON_EXTERNAL: uid}}}));
    harness
        .all::<Workspace>()
        .patch("sample", &PatchParams::default(), &annotation)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_teardown_that_is_blocked_says_by_what_and_ends_only_when_an_administrator_gives_this_one_up()
-> Result<()> {
    let harness = Harness::new().await?;
    harness.play(stubborn).await?;
    harness.workspace("sample", sample()?).await?;
    let ready = harness.ready("sample", "True", "Healthy").await?;
    let record = harness.find::<DNSRecord>("sample-").await?.name_any();

    harness
        .all::<Workspace>()
        .delete("sample", &DeleteParams::default())
        .await?;

    is_blocked_by(&harness, &record).await?;

    // Another's uid is no word on this one.
    give_up(&harness, "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10").await?;
    harness.resyncs().await;
    assert_eq!(
        (
            harness.count::<Workspace>().await?,
            harness.count::<DNSRecord>().await?
        ),
        (1, 1)
    );

    let asked = (harness.times("dns", ""), harness.times("tunnel", ""));
    give_up(&harness, &ready.uid().context("no uid")?).await?;
    all_is_gone(&harness).await?;

    ensure!(
        harness.times("dns", "") > asked.0 && harness.times("tunnel", "") > asked.1,
        "the network service was not asked once more"
    );
    both_are_named(&harness, &record).await
}

#[tokio::test]
async fn what_the_network_service_gave_up_is_named_and_never_said_to_be_gone() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(obedient).await?;
    harness.workspace("sample", sample()?).await?;
    let ready = harness.ready("sample", "True", "Healthy").await?;
    let record = harness.find::<DNSRecord>("sample-").await?.name_any();

    // On one that lives it says nothing.
    give_up(&harness, &ready.uid().context("no uid")?).await?;
    harness.resyncs().await;
    harness.ready("sample", "True", "Healthy").await?;
    assert_eq!(harness.count::<DNSRecord>().await?, 1);

    harness
        .all::<Workspace>()
        .delete("sample", &DeleteParams::default())
        .await?;
    all_is_gone(&harness).await?;
    both_are_named(&harness, &record).await
}

async fn all_is_gone(harness: &Harness) -> Result<()> {
    until("all is gone", async || {
        Ok(harness.count::<Workspace>().await? + harness.count::<DNSRecord>().await? == 0)
    })
    .await
}

/// Waits for the Events that name the record and the tunnel, of which none says that all is gone.
async fn both_are_named(harness: &Harness, record: &str) -> Result<()> {
    until("an Event says what was left behind", async || {
        let published = harness.events("Workspace", "sample").await?;
        let left: Vec<_> = published
            .iter()
            .filter(|(reason, _)| reason == "Abandoned")
            .map(|(_, note)| note)
            .collect();
        let [first, second] = left.as_slice() else {
            bail!("{published:?}")
        };
        ensure!(
            first.contains(record) && first.contains("lab"),
            "{published:?}"
        );
        ensure!(
            second.contains("seq-test") && second.contains(&"0".repeat(32)),
            "{published:?}"
        );
        Ok(true)
    })
    .await?;

    let published = harness.events("Workspace", "sample").await?;
    assert!(
        published.iter().all(|(reason, _)| reason != "Deleted"),
        "{published:?}"
    );
    Ok(())
}

async fn is_blocked_by(harness: &Harness, record: &str) -> Result<()> {
    until("it says what blocks it", async || {
        let status = harness
            .all::<Workspace>()
            .get("sample")
            .await?
            .status
            .context("no status")?;
        let blocked = status
            .conditions
            .iter()
            .find(|found| found.type_ == "TeardownBlocked")
            .context("not blocked")?;

        ensure!(
            (blocked.status.as_str(), blocked.reason.as_str())
                == ("True", "ExternalDeletionPending"),
            "{blocked:?}"
        );
        ensure!(
            blocked.message.starts_with("E#3021 ") && blocked.message.contains(record),
            "{}",
            blocked.message
        );

        let remaining = status.teardown.context("no teardown")?.remaining;
        Ok(remaining
            .iter()
            .all(|left| left.code == Some(Code::DnsProviderRefused)))
    })
    .await
}
