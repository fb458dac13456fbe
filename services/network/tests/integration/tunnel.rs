//! Tunnels at Cloudflare's stand-in.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use reqwest::Method;
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, Host, TUNNELS, ZONE, delivery, until};
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
    let [section, secret, (what, _), deployment] = all(sections + 2);
    harness
        .wrote([section, secret, (what, 2), deployment])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_somebody_changed_is_put_right_and_nothing_else_is_made() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    let _connector = preview.connect().await?;
    let secret = harness
        .api::<Secret>(TUNNELS)
        .get(&preview.connector())
        .await?;

    for values in [
        json!({"data": {"token": "b3RoZXI="}}),
        json!({"data": {"token": null}}),
        json!({"data": null}),
    ] {
        harness.patch(TUNNELS, &secret, values.clone()).await?;
        assert_eq!(preview.handle(Trigger::Retry).await, Outcome::Done);
        let now = harness
            .api::<Secret>(TUNNELS)
            .get(&preview.connector())
            .await?;
        assert_eq!(now.data, secret.data, "after {values}");
    }

    assert_eq!(preview.counted("creates").await?, 1);
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
async fn a_connector_has_no_rights_and_reads_its_token_from_a_file() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;
    // Nobody connects.
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(
        (
            preview.recorded().await?.section.state,
            preview.code().await?
        ),
        (Some(State::InProgress), Code::ConnectorNotConnected)
    );
    let deployment = harness
        .api::<Deployment>(TUNNELS)
        .get(&preview.connector())
        .await?;
    assert_eq!(
        deployment.labels()["se.quencer.io/ws-uid"],
        preview.workspace.uid().unwrap()
    );
    let spec = deployment.spec.unwrap();
    let pod = serde_json::to_value(spec.template.spec.unwrap())?;
    assert_eq!(
        (spec.replicas, &pod["automountServiceAccountToken"]),
        (Some(2), &json!(false))
    );
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        json!("RuntimeDefault")
    );
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(container["env"], Value::Null);
    assert_eq!(
        pod["volumes"][0]["secret"]["items"],
        json!([{"key": "token", "path": "token"}])
    );
    let token = preview.secret("token").await?.unwrap();
    assert!(
        !pod.to_string().contains(&token) && !pod.to_string().contains(&harness.settings.token)
    );

    let policy = harness
        .api::<NetworkPolicy>(TUNNELS)
        .get(&preview.connector())
        .await?;
    let policy = serde_json::to_value(policy.spec.unwrap())?;
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["ingress"], Value::Null);
    let target = &policy["egress"][2];
    assert_eq!(target["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
    assert_eq!(
        target["to"][0]["podSelector"]["matchLabels"]["se.quencer.io/component"],
        json!("web")
    );
    assert_eq!(policy["egress"].as_array().unwrap().len(), 3);

    // Looking again costs one write and makes nothing.
    let rev = preview.recorded().await?.section.rev;
    until("it is time to look again", async || {
        ensure!(
            preview.handle(Trigger::Change).await == Outcome::Recorded,
            "not yet"
        );
        Ok(())
    })
    .await?;
    assert_eq!(preview.recorded().await?.section.rev, rev + 1);
    assert_eq!(preview.recorded().await?.section.retry.unwrap().attempts, 2);
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
async fn a_tunnel_whose_creation_was_not_answered_is_adopted_by_its_name() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;

    harness
        .faults(json!([{"method": "POST", "path": "/accounts/*/cfd_tunnel", "times": 1, "lost_response": true}]))
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
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
async fn a_tunnel_that_is_deleted_before_anybody_knew_of_it_leaves_nothing() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;

    harness
        .faults(json!([{"method": "POST", "path": "/accounts/*/cfd_tunnel", "times": 1, "lost_response": true}]))
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    assert_eq!(preview.recorded().await?.section.state, Some(State::Gone));
    assert!(preview.is_gone().await? && preview.live().await?.is_empty());
    assert_eq!(
        (
            preview.counted("creates").await?,
            preview.counted("deletes").await?
        ),
        (1, 1)
    );

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
async fn an_object_of_the_connectors_name_that_is_not_ours_is_e5011_and_left_alone() -> Result<()> {
    let harness = Harness::new().await?;
    let preview = Preview::new(&harness).await?;

    harness
        .secret(TUNNELS, &preview.connector(), "apiToken", "somebody's")
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    assert_eq!(preview.code().await?, Code::ObjectNotOwned);
    assert_eq!(preview.counted("creates").await?, 0);
    preview.delete().await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Done);
    assert_eq!(
        preview.secret("apiToken").await?.as_deref(),
        Some("somebody's")
    );
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
