//! Nothing leads to a host that the Workspace does not hold.

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_api::{DNSRecord, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::harness::{Harness, Host, RELEASE, ZONE, delivery, until};
use crate::preview::{Preview, TEAM, object};

async fn let_go(harness: &Harness, workspace: &Workspace) -> Result<String> {
    let host = workspace.host("c1").unwrap();
    let records: Api<DNSRecord> = harness.api(RELEASE);

    drop(
        records
            .delete(&format!("{host}.cname"), &DeleteParams::default())
            .await?,
    );
    Ok(host)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tunnel_is_made_before_its_host_is_held() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let host = let_go(&harness, &preview.workspace).await?;

    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Stale);
    assert_eq!(
        (
            preview.live().await?.len(),
            preview.recorded().await?.section.rev
        ),
        (0, 0)
    );
    // Not even when a person asks.
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Stale);

    // Another Workspace's record of another type is a lock, too.
    harness
        .lock(&host, "A", TEAM, &Host::new(ZONE).owner)
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    let refused = preview.recorded().await?;
    assert_eq!(
        (refused.section.state, refused.section.retry.unwrap().code),
        (Some(State::Error), Code::HostTaken)
    );
    assert_eq!((preview.live().await?.len(), refused.intents.len()), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_whose_host_is_lost_is_taken_down() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let connector = preview.connect().await?;
    let host = let_go(&harness, &preview.workspace).await?;

    // Nobody has it: the watcher makes its record again at once.
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Stale);
    assert_eq!(preview.live().await?.len(), 1);

    harness
        .lock(&host, "A", TEAM, &Host::new(ZONE).owner)
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ExternalDeletionPending);
    connector.stop().await;
    preview.let_go().await?;
    until("the tunnel is gone", async || {
        ensure!(
            preview.handle(Trigger::Change).await == Outcome::Done,
            "not yet"
        );
        Ok(())
    })
    .await?;

    let gone = preview.recorded().await?;
    assert_eq!(
        (gone.section.state, gone.intents.len(), gone.hostname),
        (Some(State::Gone), 0, None)
    );
    assert_eq!(preview.live().await?.len(), 0);
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(
        preview.recorded().await?.section.retry.unwrap().code,
        Code::HostTaken
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_not_granted_has_no_tunnel_although_its_record_is_there() -> Result<()> {
    let harness = Harness::new().await?;
    let metadata =
        json!({"name": Host::new(ZONE).label, "finalizers": ["se.quencer.io/workspace"]});
    let workspace: Workspace = harness
        .make("other", object(&metadata, &harness.settings.account))
        .await?;
    harness.hold(&workspace).await?;
    let handled = harness
        .service
        .handle(delivery(Verb::Tunnel, "other", &workspace, Trigger::Retry))
        .await;
    assert_eq!(handled, Outcome::Recorded);
    let found = harness
        .api::<Workspace>("other")
        .get(&workspace.name_any())
        .await?;
    let tunnel = found.status.unwrap().tunnel;
    assert_eq!(
        (tunnel.section.retry.unwrap().code, tunnel.intents.len()),
        (Code::ZoneNotGranted, 0)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_another_workspace_is_not_probed() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let host = let_go(&harness, &preview.workspace).await?;

    for owner in [None, Some(Host::new(ZONE).owner)] {
        if let Some(owner) = owner {
            harness.lock(&host, "AAAA", TEAM, &owner).await?;
        }

        let probed = harness
            .service
            .handle(delivery(
                Verb::Probe,
                TEAM,
                &preview.workspace,
                Trigger::Change,
            ))
            .await;
        assert_eq!(probed, Outcome::Stale);
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_only_holds_its_host_is_not_published() -> Result<()> {
    let harness = Harness::new().await?;
    let host = Host::new(ZONE);
    let record = harness
        .lock(&host.fqdn(), "CNAME", host.namespace, &host.owner)
        .await?;
    let finalizer = json!({"metadata": {"finalizers": ["se.quencer.io/dns"]}});
    let record = harness.patch(RELEASE, &record, finalizer).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Stale);
    assert_eq!(
        harness.counted("records", "creates", &host.fqdn()).await?,
        0
    );
    harness.delete(&record).await?;
    assert_eq!(harness.dns(&record, Trigger::Change).await, Outcome::Done);
    assert_eq!(
        harness.recorded(&record).await?.section.state,
        Some(State::Gone)
    );
    Ok(())
}
