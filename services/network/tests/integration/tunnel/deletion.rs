//! A tunnel that is deleted, at any moment.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use super::unanswered;
use crate::harness::{Harness, until};
use crate::preview::{Preview, TEAM};

/// That it was made once and deleted once, and that nothing of it is left.
async fn is_undone(preview: &Preview<'_>) -> Result<()> {
    assert_eq!(preview.recorded().await?.section.state, Some(State::Gone));
    assert!(preview.is_gone().await? && preview.live().await?.is_empty());
    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.counted("deletes").await?
        ),
        (1, 1)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_a_connector_that_is_being_deleted_costs_one_write() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let _connector = preview.connect().await?;

    preview.delete().await?;
    let rev = preview.recorded().await?.section.rev;

    for look in 1..=3 {
        assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Recorded);
        let looked = preview.recorded().await?.section;
        assert_eq!(
            (looked.rev, looked.state, looked.claim),
            (rev + look, Some(State::Deleting), None)
        );
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_takes_connector_tunnel_and_credential_in_this_order_and_nothing_of_the_tenants()
-> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let connector = preview.connect().await?;

    harness
        .api::<Secret>(TEAM)
        .delete("token", &DeleteParams::default())
        .await?;
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    let waiting = preview.recorded().await?;
    assert_eq!(
        (waiting.section.state, waiting.section.retry.unwrap().code),
        (Some(State::Deleting), Code::ExternalDeletionPending)
    );
    // Its pods are still there: the tunnel and the way to delete it stay.
    assert_eq!((preview.live().await?.len(), waiting.intents.len()), (1, 1));
    assert!(preview.secret("apiToken").await?.is_some());

    connector.stop().await;
    preview.let_go().await?;
    // Cloudflare still knows a connection.
    let tunnel = "/accounts/*/cfd_tunnel/*";
    harness
        .faults(
            json!([{"method": "DELETE", "path": tunnel, "times": 1, "status": 400, "code": 1022}]),
        )
        .await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ExternalDeletionPending);
    assert!(preview.secret("apiToken").await?.is_some());

    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    let gone = preview.recorded().await?;
    assert_eq!(
        (gone.section.state, gone.intents.len(), gone.id),
        (Some(State::Gone), 0, None)
    );
    assert!(preview.is_gone().await? && preview.live().await?.is_empty());
    assert_eq!(preview.counted("deletes").await?, 1);
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    assert_eq!(preview.recorded().await?.section.rev, gone.section.rev);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_stays_until_the_ingress_that_takes_its_place_has_answered() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let _connector = preview.connect().await?;

    let rules = json!([{"name": "main", "component": "web", "network": "http"}]);
    let networking = json!({"tunnel": null, "ingress": {"rules": rules}});
    let spec = json!({"spec": {"networking": networking}});
    let edited = harness.patch(TEAM, &preview.workspace, spec).await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Stale);
    assert_eq!(preview.live().await?.len(), 1);

    let at =
        |state| json!({"rev": 1, "state": state, "observedGeneration": edited.metadata.generation});
    let status = json!({"ingress": at(State::Completed), "route": at(State::Healthy)});
    let patch = Patch::Merge(json!({ "status": status }));
    let all = harness.api::<Workspace>(TEAM);
    let name = preview.workspace.name_any();
    all.patch_status(&name, &PatchParams::default(), &patch)
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    let state = preview.recorded().await?.section.state;
    assert_eq!(state, Some(State::Deleting));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_is_deleted_before_anybody_knew_of_it_leaves_nothing() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = unanswered(&harness).await?;
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    is_undone(&preview).await?;

    // And one that was never begun needs no provider at all.
    let preview = Preview::new(&harness).await?;

    harness
        .faults(json!([{"path": "/**", "status": 500}]))
        .await?;
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    assert_eq!(preview.recorded().await?.section.state, Some(State::Gone));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_it_is_made_is_undone_at_once() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;

    harness.faults(json!([{"method": "POST", "path": "/accounts/*/cfd_tunnel", "times": 1, "delay_ms": 1500}])).await?;

    let deletion = async {
        until("its intent is written", async || {
            ensure!(preview.recorded().await?.intents.len() == 1, "not yet");
            Ok(())
        })
        .await?;
        preview.delete().await
    };

    let (outcome, deleted) = tokio::join!(preview.handle(Trigger::Change), deletion);
    deleted?;
    // The connector goes first, and takes its time.
    assert_eq!(outcome, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ExternalDeletionPending);
    preview.let_go().await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    is_undone(&preview).await
}
