//! Tokens that cannot be used, and Workspaces that are not to be worked at.

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::harness::{Harness, Host, ZONE, delivery};
use crate::preview::{Preview, TEAM};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_e3010_and_heals_when_the_secret_changes() -> Result<()> {
    let harness = Harness::new().await?;
    harness
        .secret(
            TEAM,
            "token",
            "apiKey",
            "0123456789012345678901234567890123456789",
        )
        .await?;

    let preview = Preview::with(&harness, json!({"name": "token", "key": "apiKey"})).await?;
    let patient = harness.replica(&["--min-backoff=10m"])?;

    assert_eq!(
        patient
            .handle(delivery(
                Verb::Tunnel,
                TEAM,
                &preview.workspace,
                Trigger::Change
            ))
            .await,
        Outcome::Recorded
    );

    let failed = preview.recorded().await?;
    let retry = failed.section.retry.unwrap();

    assert_eq!(
        (failed.section.state, retry.code),
        (Some(State::Error), Code::TunnelProviderRefused)
    );

    assert!(
        retry.secret_versions.contains_key("team-a/token"),
        "{retry:?}"
    );

    let rev = failed.section.rev;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    assert_eq!(preview.recorded().await?.section.rev, rev);

    harness
        .secret(TEAM, "token", "apiKey", &harness.settings.token)
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ConnectorNotConnected);
    assert_eq!(
        preview.secret("apiToken").await?.as_ref(),
        Some(&harness.settings.token)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_refuses_has_nothing_to_delete_and_another_is_used_in_its_place()
-> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let account = async |id: &str| -> Result<()> {
        let tunnel = json!({"cloudflare": {"accountId": id}});
        let patch = Patch::Merge(json!({"spec": {"networking": {"tunnel": tunnel}}}));
        let api = harness.api::<Workspace>(TEAM);
        let name = preview.workspace.name_any();
        api.patch(&name, &PatchParams::default(), &patch).await?;
        Ok(())
    };

    // Mistyped.
    account(&"0".repeat(32)).await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::TunnelProviderRefused);
    assert!(preview.recorded().await?.intents.is_empty());

    account(&harness.settings.account).await?;
    let connector = preview.connect().await?;
    let made = preview.recorded().await?;
    assert_eq!(made.section.state, Some(State::Completed));

    // What serves is not touched by the next mistake.
    account(&"1".repeat(32)).await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::TunnelProviderRefused);
    let kept = preview.recorded().await?;
    assert_eq!((kept.intents, kept.id), (made.intents, made.id));

    connector.stop().await;
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    preview.let_go().await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    assert_eq!(preview.recorded().await?.section.state, Some(State::Gone));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_secret_that_cannot_be_used_has_its_code_and_nothing_is_made() -> Result<()> {
    let harness = Harness::new().await?;
    harness
        .secret(TEAM, "token", "apiKey", &harness.settings.token)
        .await?;
    harness
        .secret("other", "token", "apiKey", &harness.settings.token)
        .await?;
    for (reference, code) in [
        (
            json!({"name": "absent", "key": "apiKey"}),
            Code::SecretNotFound,
        ),
        (
            json!({"name": "token", "key": "absent"}),
            Code::SecretKeyNotFound,
        ),
        (
            json!({"name": "token", "key": "apiKey", "namespace": "other"}),
            Code::SecretNotShared,
        ),
        (
            json!({"name": "absent", "key": "apiKey", "namespace": "other"}),
            Code::SecretNotShared,
        ),
    ] {
        let preview = Preview::with(&harness, reference).await?;
        assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
        assert_eq!(preview.code().await?, code);
        assert!(preview.recorded().await?.intents.is_empty() && preview.is_gone().await?);
    }
    assert_eq!(harness.admin("counters").await?["calls"], json!({}));

    let shared = json!({"metadata": {"annotations": {"se.quencer.io/shared-with": "team-a"}}});
    let api = harness.api::<Secret>("other");
    api.patch("token", &PatchParams::default(), &Patch::Merge(shared))
        .await?;
    let preview = Preview::with(
        &harness,
        json!({"name": "token", "key": "apiKey", "namespace": "other"}),
    )
    .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ConnectorNotConnected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_workspace_that_is_meant_and_may_be_worked_at_is_worked_at() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let mut other = preview.workspace.clone();
    other.metadata.uid = Some(Host::new(ZONE).owner);
    assert_eq!(
        harness
            .service
            .handle(delivery(Verb::Tunnel, TEAM, &other, Trigger::Change))
            .await,
        Outcome::Gone
    );
    let plain = harness.workspace(TEAM, "plain").await?;
    assert_eq!(
        harness
            .service
            .handle(delivery(Verb::Tunnel, TEAM, &plain, Trigger::Change))
            .await,
        Outcome::Stale
    );

    let claim =
        json!({"holder": "network-b/12345678", "until": "2099-01-01T00:00:00Z", "attempts": 0});
    let taken = json!({"status": {"tunnel": {"rev": 1, "state": "InProgress", "claim": claim}}});
    let api = harness.api::<Workspace>(TEAM);
    api.patch_status(
        &preview.workspace.name_any(),
        &PatchParams::default(),
        &Patch::Merge(taken),
    )
    .await?;
    assert_eq!(
        preview.handle(Trigger::Change).await,
        Outcome::ClaimedElsewhere
    );
    assert_eq!(harness.admin("counters").await?["calls"], json!({}));
    Ok(())
}
