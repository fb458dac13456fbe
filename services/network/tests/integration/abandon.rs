//! What an administrator gives up because nobody can delete it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_api::{DNSRecord, Workspace};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::{Harness, Host, SECOND_ACCOUNT, ZONE};
use crate::preview::{Preview, TEAM};

/// What the watcher's tests tell people of.
const TUNNEL: &str = include_str!("../../../api/tests/abandoned/tunnel.json");
const RECORD: &str = include_str!("../../../api/tests/abandoned/record.json");

const TARGET: &str = "6ff42ae2-0000-4000-8000-000000000000.cfargotunnel.com";

/// What the name servers and the provider say of a record, which nobody is told.
const MORE: [&str; 4] = ["observedGeneration", "nameservers", "remoteId", "zoneId"];

/// The fields of a section that people are told of.
fn fields(section: &impl Serialize) -> Result<BTreeSet<String>> {
    let section = serde_json::to_value(section)?;
    let fields = section.as_object().context("no section")?;
    let fields = fields
        .keys()
        .filter(|field| !MORE.contains(&field.as_str()));
    Ok(fields.cloned().collect())
}

fn expected(section: &str) -> Result<BTreeSet<String>> {
    fields(&serde_json::from_str::<Value>(section)?)
}

/// The word of an administrator.
async fn give_up(harness: &Harness, workspace: &Workspace) -> Result<()> {
    let annotation = json!({"se.quencer.io/abandon-external": workspace.uid()});
    let patch = json!({"metadata": {"annotations": annotation}});
    harness.patch(TEAM, workspace, patch).await?;
    Ok(())
}

/// No token is good any more.
async fn revoke(harness: &Harness) -> Result<()> {
    harness.tell("token", json!({"token": null})).await
}

/// A tunnel that was made with a token that is good no more.
async fn revoked(harness: &Harness) -> Result<Preview<'_>> {
    let preview = Preview::new(harness).await?;
    preview.connect().await?.stop().await;
    revoke(harness).await?;
    Ok(preview)
}

/// A tunnel whose connector is gone, and that cannot be deleted.
async fn orphaned(preview: &Preview<'_>) -> Result<()> {
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ExternalDeletionPending);
    preview.let_go().await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Recorded);
    is_kept(preview).await
}

/// That it failed, and that all is there to try again.
async fn is_kept(preview: &Preview<'_>) -> Result<()> {
    let kept = preview.recorded().await?;
    assert_eq!(
        (kept.section.state, preview.code().await?),
        (Some(State::Error), Code::TunnelProviderRefused)
    );
    assert_eq!(kept.intents.len(), 1);
    assert!(preview.secret("apiToken").await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_can_give_up_a_tunnel_that_nobody_can_delete() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = revoked(&harness).await?;
    preview.delete().await?;
    orphaned(&preview).await?;

    give_up(&harness, &preview.workspace).await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    let left = preview.recorded().await?;
    assert_eq!(left.section.state, Some(State::Abandoned));
    assert_eq!(fields(&left)?, expected(TUNNEL)?);
    assert_eq!(
        (&left.intents[0].name, &left.intents[0].account_id),
        (&preview.tunnel(), &harness.settings.account)
    );
    // Nothing of it is left in the cluster, and no credential.
    assert!(preview.is_gone().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_tried_once_more_and_is_gone_if_that_does_it() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = revoked(&harness).await?;
    preview.delete().await?;
    orphaned(&preview).await?;

    give_up(&harness, &preview.workspace).await?;
    let token = &harness.settings.token;
    harness.tell("token", json!({"token": token})).await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    let gone = preview.recorded().await?;
    assert_eq!(
        (gone.section.state, gone.intents.len()),
        (Some(State::Gone), 0)
    );
    assert!(preview.is_gone().await? && preview.live().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_of_a_workspace_that_lives_is_not_given_up() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = revoked(&harness).await?;
    give_up(&harness, &preview.workspace).await?;
    let private = json!({"spec": {"networking": null}});
    harness.patch(TEAM, &preview.workspace, private).await?;
    orphaned(&preview).await?;

    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Recorded);
    is_kept(&preview).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_tunnels_each_is_tried_and_only_those_that_are_left_are_named() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let account = &harness.settings.account;
    preview.connect().await?.stop().await;
    let cloudflare = json!({"accountId": SECOND_ACCOUNT});
    let moved = json!({"spec": {"networking": {"tunnel": {"cloudflare": cloudflare}}}});
    harness.patch(TEAM, &preview.workspace, moved).await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    preview.let_go().await?;
    assert_eq!(preview.recorded().await?.intents.len(), 2);

    // The second account refuses everything, the first nothing.
    let refused = format!("/accounts/{SECOND_ACCOUNT}/**");
    harness
        .faults(json!([{"path": refused, "status": 403, "code": 10000}]))
        .await?;
    preview.delete().await?;
    give_up(&harness, &preview.workspace).await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);

    let left = preview.recorded().await?;
    let accounts: Vec<_> = left
        .intents
        .iter()
        .map(|intent| intent.account_id.as_str())
        .collect();
    assert_eq!(
        (left.section.state, accounts),
        (Some(State::Abandoned), vec![SECOND_ACCOUNT])
    );
    let name = preview.tunnel();
    assert!(preview.live_in(account, &name).await?.is_empty());
    Ok(())
}

/// A record that was published, and a Workspace that it is of.
async fn published(harness: &Harness) -> Result<(Workspace, DNSRecord)> {
    let workspace = harness.workspace(TEAM, "w").await?;
    let finalizers = json!({"metadata": {"finalizers": ["se.quencer.io/workspace"]}});
    let workspace = harness.patch(TEAM, &workspace, finalizers).await?;
    let host = Host {
        owner: workspace.uid().context("no uid")?,
        ..Host::new(ZONE)
    };

    let record = harness.record(&host, "CNAME", TARGET).await?;
    ensure!(
        harness.dns(&record, Trigger::Change).await == Outcome::Done,
        "the record is not published"
    );
    Ok((workspace, record))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_can_give_up_a_record_that_nobody_can_delete() -> Result<()> {
    let harness = Harness::new().await?;
    let (workspace, record) = published(&harness).await?;
    revoke(&harness).await?;
    harness
        .api::<Workspace>(TEAM)
        .delete(&workspace.name_any(), &DeleteParams::default())
        .await?;
    harness.delete(&record).await?;
    assert_eq!(
        harness.dns(&record, Trigger::Change).await,
        Outcome::Recorded
    );

    let blocked = harness.recorded(&record).await?.section.retry;
    assert_eq!(blocked.context("no retry")?.code, Code::DnsProviderRefused);

    give_up(&harness, &workspace).await?;
    assert_eq!(harness.dns(&record, Trigger::Retry).await, Outcome::Done);
    let left = harness.recorded(&record).await?;
    assert_eq!(left.section.state, Some(State::Abandoned));
    assert_eq!(fields(&left)?, expected(RECORD)?);
    assert_eq!(
        (left.provider.as_deref(), left.fqdn),
        (Some("main"), Some(record.spec.fqdn()))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_workspace_that_lives_is_not_given_up() -> Result<()> {
    let harness = Harness::new().await?;
    let (workspace, record) = published(&harness).await?;
    revoke(&harness).await?;
    give_up(&harness, &workspace).await?;
    harness.delete(&record).await?;

    for trigger in [Trigger::Change, Trigger::Retry] {
        assert_eq!(harness.dns(&record, trigger).await, Outcome::Recorded);
        let kept = harness.recorded(&record).await?;
        assert_eq!(
            (kept.section.state, kept.deleted_at),
            (Some(State::Error), None)
        );
    }

    Ok(())
}
