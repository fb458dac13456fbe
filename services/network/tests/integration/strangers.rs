//! What is not ours although it looks so, and what is ours in another account.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use reqwest::Method;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::harness::{Harness, Host, SECOND_ACCOUNT, TUNNELS, ZONE};
use crate::preview::{Preview, TEAM};

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_of_our_prefix_that_is_of_an_unknown_workspace_is_never_touched() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let (account, ours) = (&harness.settings.account, preview.tunnel());
    let strangers = [
        format!("seq-c1-{}", Host::new(ZONE).owner),
        format!("seq-other-{}", preview.owner().uid),
        format!("{ours}-2"),
        ours.to_uppercase(),
    ];
    for name in &strangers {
        let body = json!({"name": name, "config_src": "cloudflare"});
        harness
            .call(
                Method::POST,
                &format!("/accounts/{account}/cfd_tunnel"),
                &body,
            )
            .await?;
    }

    let connector = preview.connect().await?;

    assert_eq!(
        (
            preview.live().await?.len(),
            preview.counted("creates").await?
        ),
        (1, 1)
    );
    connector.stop().await;
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    preview.let_go().await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    assert!(preview.is_gone().await? && preview.live().await?.is_empty());
    for name in &strangers {
        let counts = ["creates", "updates", "deletes"]
            .map(async |event| harness.counted("tunnels", event, name).await);
        let [creates, updates, deletes] = counts;

        assert_eq!(
            (creates.await?, updates.await?, deletes.await?),
            (1, 0, 0),
            "{name}"
        );
        assert_eq!(preview.live_in(account, name).await?.len(), 1, "{name}");
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_gets_the_tunnel_once_the_first_has_it_no_more() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let first = &harness.settings.account;
    let connector = preview.connect().await?;
    let made = preview.recorded().await?;
    let change =
        json!({"spec": {"networking": {"tunnel": {"cloudflare": {"accountId": SECOND_ACCOUNT}}}}});
    harness.patch(TEAM, &preview.workspace, change).await?;

    // Its pods are still there: nothing is made, and what has to be deleted is not forgotten.
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    let waiting = preview.recorded().await?;
    assert_eq!(
        (waiting.section.state, preview.code().await?),
        (Some(State::InProgress), Code::ExternalDeletionPending)
    );

    let accounts: Vec<_> = waiting
        .intents
        .iter()
        .map(|intent| intent.account_id.as_str())
        .collect();
    assert_eq!(accounts, [first, SECOND_ACCOUNT]);
    assert_eq!(
        (
            preview.live().await?.len(),
            preview.counted("creates").await?
        ),
        (1, 1)
    );

    connector.stop().await;
    preview.let_go().await?;
    // The copy of the credential does not do any more; the Workspace's own does.
    let newer = "another-token-of-the-forty-characters-it-has";
    harness.tell("token", json!({"token": newer})).await?;
    harness.secret(TEAM, "token", "apiKey", newer).await?;
    let _connector = preview.connect().await?;
    let moved = preview.recorded().await?;

    assert_eq!(
        (moved.section.state, moved.account_id.as_deref()),
        (Some(State::Completed), Some(SECOND_ACCOUNT))
    );

    assert!(
        moved.intents.len() == 1
            && moved.intents[0].account_id == SECOND_ACCOUNT
            && moved.id != made.id
    );

    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.counted("deletes").await?
        ),
        (2, 1)
    );
    assert_eq!(preview.secret("apiToken").await?.as_deref(), Some(newer));

    let deployment = harness
        .api::<Deployment>(TUNNELS)
        .get(&preview.connector())
        .await?;
    let template = deployment
        .spec
        .context("no spec")?
        .template
        .metadata
        .context("no metadata")?;

    assert_eq!(
        template
            .annotations
            .context("none")?
            .get("se.quencer.io/tunnel"),
        moved.id.as_ref()
    );
    Ok(())
}
