//! The objects of a connector in the cluster.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, TUNNELS, until};
use crate::preview::Preview;

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
    assert_eq!(target["ports"], json!([{"protocol": "TCP"}]));
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
