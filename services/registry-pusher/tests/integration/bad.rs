//! What goes wrong, what people see of it, and how it heals.

use anyhow::Result;
use lab::parts::registry::COMPANY_USER;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, handle};
use crate::stage::USER;

fn credentials(name: &str) -> Value {
    json!({"authScheme": "keyPair", "secretRef": {"name": name}})
}

/// The codes of the section, and of each registry.
async fn codes(
    harness: &Harness,
    build: &sequencer_api::Build,
) -> Result<(Option<Code>, Vec<Option<Code>>)> {
    let publish = harness.publish(build).await?;
    let each = publish
        .registries
        .iter()
        .map(|one| one.failure.as_ref().map(|failure| failure.code));

    Ok((
        publish.section.retry.map(|retry| retry.code),
        each.collect(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_e1020_and_heals_when_the_secret_changes() -> Result<()> {
    let harness = Harness::new().await?;
    let staged = harness.stage(2, 1000).await?;
    let wrong = format!("SEQCANARY-wrong-{}", harness.id);
    harness.secret("company", COMPANY_USER, &wrong).await?;
    harness.secret("hub", "myuser", &wrong).await?;
    let (company, hub) = (
        format!("registry.test/pusher-{}/app", harness.id),
        format!("myuser/pusher-{}", harness.id),
    );
    let registries = json!([
        {"url": company, "tags": ["dev"], "credentials": credentials("company")},
        {"url": hub, "tags": ["dev"], "credentials": credentials("hub")},
    ]);
    let build = harness.build(&staged.digest, &registries).await?;
    let service = harness.service("a", &[])?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Recorded
    );
    let refused = Some(Code::CredentialsRefused);
    assert_eq!(
        codes(&harness, &build).await?,
        (refused, vec![refused, refused])
    );
    let failed = harness.publish(&build).await?;
    assert_eq!(
        (failed.section.state, failed.image.as_deref()),
        (Some(State::Error), None)
    );
    let retry = failed.section.retry.clone().unwrap();
    assert_eq!(
        retry.secret_versions.keys().collect::<Vec<_>>(),
        ["team/company", "team/hub"]
    );

    // Nothing of the password is anywhere.
    let shown = serde_json::to_string(
        &harness
            .builds
            .get(&build.metadata.name.clone().unwrap())
            .await?,
    )?;
    assert!(
        !format!("{shown} {service:?}").contains("SEQCANARY"),
        "{shown}"
    );

    // The Secret is as it was: it is looked at, and nothing else happens.
    assert_eq!(
        handle(&service, &build, Trigger::Resync).await?,
        Outcome::Done
    );
    assert_eq!(harness.publish(&build).await?, failed);

    harness
        .secret("company", COMPANY_USER, &harness.cluster.registry_password)
        .await?;
    assert_eq!(
        handle(&service, &build, Trigger::Resync).await?,
        Outcome::Recorded
    );
    let half = harness.publish(&build).await?;
    assert_eq!(
        half.registries
            .iter()
            .map(|one| one.state)
            .collect::<Vec<_>>(),
        [State::Completed, State::Error]
    );
    assert_eq!(half.image, Some(format!("{company}@{}", staged.digest)));
    assert_eq!(half.section.retry.map(|retry| retry.attempts), Some(2));
    harness
        .secret("hub", "myuser", &harness.cluster.hub_password)
        .await?;
    assert_eq!(
        handle(&service, &build, Trigger::Resync).await?,
        Outcome::Done
    );
    let whole = harness.publish(&build).await?;
    assert_eq!(
        (whole.section.state, whole.section.retry),
        (Some(State::Completed), None)
    );
    assert_eq!(
        whole.registries[0], half.registries[0],
        "it was published again"
    );
    harness.check(&company, &["dev"], &staged)?;
    harness.check(&format!("docker.io/{hub}"), &["dev"], &staged)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_does_not_hinder_another_and_each_says_its_own_code() -> Result<()>
{
    let mut harness = Harness::new().await?;
    let (own, _entry) = harness.entry().await?;
    harness.secret_of("odd", &json!({"user": "x"})).await?;
    harness
        .secret_of("empty", &json!({"username": "x", "password": "\n"}))
        .await?;
    let staged = harness.stage(2, 1000).await?;
    let (address, good) = (harness.alone.address, format!("{}/app", own.address));
    let registries = json!([
        {"url": format!("{address}:9/app"), "tags": ["dev"], "credentials": credentials("own")},
        {"url": good, "tags": ["dev"], "credentials": credentials("own")},
        {"url": "10.96.0.1/app", "tags": ["dev"], "credentials": credentials("own")},
        {"url": format!("{good}/odd"), "tags": ["dev"], "credentials": credentials("odd")},
        {"url": format!("{good}/empty"), "tags": ["dev"], "credentials": credentials("empty")},
        {"url": format!("{good}/absent"), "tags": ["dev"], "credentials": credentials("absent")},
        {"url": format!("{good}/anonymous"), "tags": ["dev"]},
        {"url": format!("{good}/aws"), "tags": ["dev"], "credentials": {"authScheme": "aws"}},
    ]);
    let build = harness.build(&staged.digest, &registries).await?;
    let service = harness.service("a", &[])?;
    assert_eq!(
        handle(&service, &build, Trigger::Change).await?,
        Outcome::Recorded
    );
    let wanted = vec![
        Some(Code::RegistryUnavailable),
        None,
        Some(Code::AddressForbidden),
        Some(Code::SecretKeysInvalid),
        Some(Code::SecretEmpty),
        Some(Code::SecretNotFound),
        Some(Code::CredentialsRefused),
        Some(Code::RegistryFeatureUnsupported),
    ];
    assert_eq!(
        codes(&harness, &build).await?,
        (Some(Code::RegistryUnavailable), wanted)
    );
    assert_eq!(harness.publish(&build).await?.image, None);
    harness.check(&good, &["dev"], &staged)?;

    // What was published is not published again.
    let before = own.took("PUT /v2/app/")?;
    assert_eq!(
        handle(&service, &build, Trigger::Retry).await?,
        Outcome::Recorded
    );
    assert_eq!(own.took("PUT /v2/app/")?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_is_refused_and_a_bound_secret_goes_nowhere_else() -> Result<()> {
    let mut harness = Harness::new().await?;
    let own = harness.own("own", 5001)?;
    let api: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(harness.client.clone(), "team");
    let bound = json!({
        "metadata": {"name": "bound", "annotations": {"se.quencer.io/host": "ghcr.io"}},
        "stringData": {"username": USER, "password": harness.password},
    });
    api.create(
        &kube::api::PostParams::default(),
        &serde_json::from_value(bound)?,
    )
    .await?;
    let staged = harness.stage(1, 1000).await?;
    let url = |path: &str| format!("{}/{path}", own.address);
    let registries = json!([
        {"url": url("delete"), "tags": ["dev"], "credentials": credentials("bound"), "deletionPolicy": "Delete"},
        {"url": url("create"), "tags": ["dev"], "credentials": credentials("bound"), "createRepository": true},
        {"url": url("bound"), "tags": ["dev"], "credentials": credentials("bound")},
        {"url": url("foreign"), "tags": ["dev"], "credentials": {"authScheme": "keyPair", "secretRef": {"name": "x", "namespace": "other"}}},
    ]);
    let build = harness.build(&staged.digest, &registries).await?;
    let before = own.requests()?;
    assert_eq!(
        handle(&*harness.service("a", &[])?, &build, Trigger::Change).await?,
        Outcome::Recorded
    );
    let wanted = [
        Code::RegistryFeatureUnsupported,
        Code::RegistryFeatureUnsupported,
        Code::SecretForOtherHost,
        Code::SecretNotShared,
    ]
    .map(Some);
    assert_eq!(codes(&harness, &build).await?.1, wanted);
    assert_eq!(own.requests()?, before, "something was sent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_lost_layer_is_e5021_and_reaches_no_registry() -> Result<()> {
    let mut harness = Harness::new().await?;
    let (own, registries) = harness.entry().await?;
    let service = harness.service("a", &[])?;

    for damage in ["another byte", "too short", "gone", "no manifest"] {
        let staged = harness.stage(2, 100_000).await?;
        let layer = harness.staging.blob(&staged.blobs[1]);

        match damage {
            "another byte" => {
                let mut content = std::fs::read(&layer)?;
                content[50_000] ^= 1;
                std::fs::write(&layer, content)?;
            }
            "too short" => std::fs::write(&layer, &std::fs::read(&layer)?[..50_000])?,
            "gone" => std::fs::remove_file(&layer)?,
            _ => std::fs::remove_file(harness.staging.blob(&staged.digest))?,
        }

        let build = harness.build(&staged.digest, &registries).await?;
        assert_eq!(
            handle(&service, &build, Trigger::Change).await?,
            Outcome::Recorded
        );

        let code = Some(Code::StagedImageUnusable);
        assert_eq!(
            codes(&harness, &build).await?,
            (code, vec![code]),
            "{damage}"
        );
        assert_eq!(
            own.has(&staged.blobs[1..2]) + own.has(&staged.manifests),
            0,
            "{damage}"
        );

        let name = build.metadata.name.clone().unwrap();
        harness
            .builds
            .delete(&name, &kube::api::DeleteParams::default())
            .await?;
    }

    assert_eq!(own.took("PUT /v2/app/manifests/")?, 0);
    Ok(())
}
