//! `resolve` on a real API server, with a real git server.

use anyhow::Result;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::harness::Harness;
use crate::repository::Repository;

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_recorded_once_and_again_when_it_moves() -> Result<()> {
    let harness = Harness::new().await?;
    harness
        .secret("git", &[("token", &harness.secrets.git_token)])
        .await?;

    let repository = Repository::new(&harness.layout, &[("Dockerfile", "FROM scratch")])?;
    let first = repository.commit("feature", &[("x", "1")])?;
    let builder = harness.builder("a", &[])?;

    harness
        .make_component(
            "web",
            Harness::spec(&repository.url(), json!({"ref": "feature"}), json!({})),
            json!({}),
        )
        .await?;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Done
    );

    let source = harness.source_status("web").await?;
    assert_eq!(
        (&source["state"], &source["rev"]),
        (&json!("Completed"), &json!(1))
    );
    assert_eq!(source["imports"][0]["commit"], json!(first));

    // Nothing moved: nothing is written.
    let before = harness
        .components()
        .get("web")
        .await?
        .metadata
        .resource_version;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(
        harness
            .components()
            .get("web")
            .await?
            .metadata
            .resource_version,
        before
    );

    let second = repository.commit("feature", &[("x", "2")])?;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Done
    );

    let source = harness.source_status("web").await?;
    assert_eq!(
        (&source["imports"][0]["commit"], &source["rev"]),
        (&json!(second), &json!(2))
    );

    // A pinned one stays, and says what is there.
    harness
        .patch_component("web", json!({"spec": {"updatePolicy": {"mode": "Pin"}}}))
        .await?;

    let third = repository.commit("feature", &[("x", "3")])?;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Done
    );

    let source = harness.source_status("web").await?;
    assert_eq!(
        (&source["imports"][0]["commit"], &source["available"]),
        (&json!(second), &json!(third))
    );

    // A paused one is not looked at.
    harness
        .patch_component(
            "web",
            json!({"spec": {"updatePolicy": {"mode": "Follow"}, "paused": true}}),
        )
        .await?;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Stale
    );
    assert_eq!(harness.source_status("web").await?["rev"], json!(3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_does_not_exist_is_e1012_and_heals_when_it_is_pushed() -> Result<()> {
    let harness = Harness::new().await?;
    harness
        .secret("git", &[("token", &harness.secrets.git_token)])
        .await?;
    let repository = Repository::new(&harness.layout, &[("Dockerfile", "FROM scratch")])?;
    let builder = harness.builder("a", &[])?;
    harness
        .make_component(
            "web",
            Harness::spec(&repository.url(), json!({"ref": "later"}), json!({})),
            json!({}),
        )
        .await?;
    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Recorded
    );
    let source = harness.source_status("web").await?;
    assert_eq!(
        (&source["state"], &source["retry"]["code"]),
        (&json!("Error"), &json!("E#1012"))
    );
    assert_eq!(source["retry"]["attempts"], json!(1));

    let commit = repository.commit("later", &[("x", "1")])?;
    // Too early, and no Secret is to blame.
    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Resync).await?,
        Outcome::Done
    );
    assert_eq!(harness.source_status("web").await?["state"], json!("Error"));
    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Retry).await?,
        Outcome::Done
    );
    let source = harness.source_status("web").await?;
    assert_eq!(
        (&source["state"], &source["retry"]),
        (&json!("Completed"), &json!(null))
    );
    assert_eq!(source["imports"][0]["commit"], json!(commit));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_e1006_no_secret_is_e1007_and_a_change_of_the_secret_heals() -> Result<()> {
    let harness = Harness::new().await?;
    let repository = Repository::new(&harness.layout, &[("Dockerfile", "FROM scratch")])?;
    let builder = harness.builder("a", &[])?;

    harness
        .make_component(
            "web",
            Harness::spec(&repository.url(), json!({"ref": "main"}), json!({})),
            json!({}),
        )
        .await?;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Recorded
    );

    let source = harness.source_status("web").await?;
    assert_eq!(source["retry"]["code"], json!("E#1007"));
    assert_eq!(
        source["retry"]["secretVersions"],
        json!({"default/git": ""})
    );

    for (keys, code) in [
        ([("password", "x")], "E#1006"),
        ([("token", "")], "E#1013"),
        ([("token", "wrong")], "E#1016"),
    ] {
        harness.secret("git", &keys).await?;
        assert_eq!(
            harness.resolve(&builder, "web", Trigger::Change).await?,
            Outcome::Recorded
        );
        assert_eq!(
            harness.source_status("web").await?["retry"]["code"],
            json!(code)
        );
        // The same Secret is not tried again.
        assert_eq!(
            harness.resolve(&builder, "web", Trigger::Change).await?,
            Outcome::Done
        );
    }

    harness
        .secret("git", &[("token", &harness.secrets.git_token)])
        .await?;

    assert_eq!(
        harness.resolve(&builder, "web", Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(
        harness.source_status("web").await?["state"],
        json!("Completed")
    );
    Ok(())
}
