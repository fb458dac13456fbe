//! A tunnel that is made, routed and adopted, and what that costs.

use anyhow::{Result, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::DeleteParams;
use reqwest::Method;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use super::unanswered;
use crate::harness::{Harness, TUNNELS, until};
use crate::preview::{Preview, TEAM};

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_made_once_connected_and_routed_again_when_the_spec_changes() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let _connector = preview.connect().await?;
    let made = preview.recorded().await?;

    assert_eq!(
        (made.section.state, &made.section.claim, &made.section.retry),
        (Some(State::Completed), &None, &None)
    );

    let live = preview.live().await?;
    assert_eq!(
        (live.len(), live[0]["id"].as_str()),
        (1, made.id.as_deref())
    );
    assert_eq!(
        made.hostname,
        Some(format!("{}.cfargotunnel.com", made.id.clone().unwrap()))
    );
    assert_eq!(
        (made.intents.len(), made.name.clone()),
        (1, Some(preview.tunnel()))
    );
    assert_eq!(
        preview.secret("apiToken").await?.as_ref(),
        Some(&harness.settings.token)
    );

    // Delivered twice, and once more by a person.
    assert_eq!(preview.handle(Trigger::Resync).await, Outcome::Done);
    assert_eq!(preview.recorded().await?.section.rev, made.section.rev);
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.counted("updates").await?
        ),
        (1, 1)
    );

    let path = format!(
        "/accounts/{}/cfd_tunnel/{}/configurations",
        harness.settings.account,
        made.id.unwrap()
    );
    let service = preview.owner().service("web", "http");
    let rules = harness.call(Method::GET, &path, &Value::Null).await?["config"]["ingress"].clone();

    assert_eq!(
        rules[0]["service"],
        json!(format!("http://{service}.team-a.svc:3000"))
    );

    let change =
        json!({"spec": {"networking": {"tunnel": {"cloudflare": {"route": {"path": "/app"}}}}}});
    harness.patch(TEAM, &preview.workspace, change).await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    let rules = harness.call(Method::GET, &path, &Value::Null).await?["config"]["ingress"].clone();
    assert_eq!(rules[0]["path"], json!("^/app"));
    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.counted("updates").await?
        ),
        (1, 2)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_costs_six_writes_and_one_for_a_spec_that_changes_nothing_of_it() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let _connector = preview.connect().await?;
    // The claim with the intent, and what came of it, for each look.
    let mut sections = preview.recorded().await?.section.rev;
    let parts = [
        // The copy of the credential, and the token once the tunnel is there.
        ("patch secrets", 2),
        ("patch networkpolicies", 1),
        ("patch deployments", 1),
    ];
    let all = |sections: i64| -> [_; 4] {
        let [secret, policy, deployment] = parts;
        [
            ("patch workspaces/status", sections),
            secret,
            policy,
            deployment,
        ]
    };
    harness.wrote(all(sections)).await?;
    assert_eq!(sections, 2 * preview.looks.get());

    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    harness.wrote(all(sections)).await?;
    let components = json!([{
        "name": "web", "replicas": 2, "template": {"containers": [{"name": "web", "image": "newer"}]},
        "networks": [{"name": "http", "port": 3000, "targetPort": 8080}],
    }]);
    harness
        .patch(
            TEAM,
            &preview.workspace,
            json!({"spec": {"components": components}}),
        )
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    sections += 1;
    harness.wrote(all(sections)).await?;
    assert_eq!(
        preview.recorded().await?.section.observed_generation,
        Some(2)
    );
    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.counted("updates").await?
        ),
        (1, 1)
    );

    // What is missing is made again, under a claim.
    harness
        .api::<NetworkPolicy>(TUNNELS)
        .delete(&preview.connector(), &DeleteParams::default())
        .await?;
    assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
    let [section, secret, (policy, _), deployment] = all(sections + 2);
    harness
        .wrote([section, secret, (policy, 2), deployment])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_whose_creation_was_not_answered_is_adopted_by_its_name() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = unanswered(&harness).await?;
    let unknown = preview.recorded().await?;
    assert_eq!(
        (unknown.section.retry.unwrap().code, unknown.intents.len()),
        (Code::ProviderUnavailable, 1)
    );

    let _connector = preview.connect().await?;

    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.live().await?.len()
        ),
        (1, 1)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_while_it_is_made_is_routed_as_it_is_now() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;

    harness.faults(json!([{"method": "POST", "path": "/accounts/*/cfd_tunnel", "times": 1, "delay_ms": 1500}])).await?;

    let edit = async {
        until("its intent is written", async || {
            ensure!(preview.recorded().await?.intents.len() == 1, "not yet");
            Ok(())
        })
        .await?;
        let tunnel = json!({"cloudflare": {"route": {"path": "/new"}}});
        let spec = json!({"spec": {"networking": {"tunnel": tunnel}}});
        harness.patch(TEAM, &preview.workspace, spec).await
    };
    let (_outcome, edited) = tokio::join!(preview.handle(Trigger::Change), edit);
    edited?;
    assert_eq!(
        preview.recorded().await?.section.observed_generation,
        preview.workspace.metadata.generation
    );

    let _connector = preview.connect().await?;
    let live = harness.admin("live").await?;
    assert_eq!(live["tunnels"][0]["config"]["ingress"][0]["path"], "^/new");
    Ok(())
}
