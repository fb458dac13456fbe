//! Who may build: claims that are held, lost and used up, pools, and a builder that is told to end.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use sequencer_proto::topics::Verb;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use super::{DOCKERFILE, repository, spec};
use crate::harness::{Harness, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_wants_any_more_is_given_up_and_one_that_is_claimed_is_left_alone()
-> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 1000\n").await?;
    let (a, b) = (
        harness.builder("a", &["--claim-renew=300ms"])?,
        harness.builder("b", &[])?,
    );
    let claimed = async |name: &str| {
        until("it is claimed", async || {
            Ok(harness.build_status(name).await?["claim"].is_object())
        })
        .await
    };
    harness
        .make_build("deleted", spec(&repository, &commit, json!({})))
        .await?;
    let delete = async {
        claimed("deleted").await?;
        let until_first = harness.build_status("deleted").await?["claim"]["until"].clone();
        assert_eq!(
            harness.build(&b, "deleted", Trigger::Change).await?,
            Outcome::ClaimedElsewhere
        );
        until("it is renewed", async || {
            Ok(harness.build_status("deleted").await?["claim"]["until"] != until_first)
        })
        .await?;
        until("its step is told", async || {
            Ok(harness.build_status("deleted").await?["step"] == json!("[2/2] RUN sleep 1000"))
        })
        .await?;
        harness
            .builds()
            .delete("deleted", &DeleteParams::default())
            .await?;
        anyhow::Ok(())
    };
    let (outcome, deleted) = tokio::join!(harness.build(&a, "deleted", Trigger::Change), delete);
    deleted?;
    assert_eq!(outcome?, Outcome::Gone);

    harness
        .make_build(
            "superseded",
            spec(&repository, &commit, json!({"target": "x"})),
        )
        .await
        .map(drop)?;
    harness
        .builds()
        .delete("superseded", &DeleteParams::default())
        .await?;
    harness
        .make_build(
            "superseded",
            spec(
                &repository,
                &commit,
                json!({"args": {"values": [{"name": "A", "value": "1"}]}}),
            ),
        )
        .await?;
    let supersede = async {
        claimed("superseded").await?;
        let patch =
            json!({"metadata": {"annotations": {sequencer_api::labels::SUPERSEDED_BY: "newer"}}});
        harness
            .builds()
            .patch("superseded", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        anyhow::Ok(())
    };
    let (outcome, superseded) =
        tokio::join!(harness.build(&a, "superseded", Trigger::Change), supersede);
    superseded?;
    assert_eq!(outcome?, Outcome::Stale);
    assert_eq!(
        harness.build(&b, "superseded", Trigger::Change).await?,
        Outcome::Stale
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_ends_the_build_and_records_nothing() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 1000\n").await?;
    harness
        .make_build("lost", spec(&repository, &commit, json!({})))
        .await?;
    let builder = harness.builder("a", &["--claim-renew=300ms"])?;
    let take = async {
        until("it is claimed", async || {
            Ok(harness.build_status("lost").await?["claim"].is_object())
        })
        .await?;
        // Whoever takes it writes over what it read; a renewal may come between.
        until("it is taken", async || {
            let found = harness.builds().get("lost").await?;
            let (uid, mut image) = (
                found.uid().unwrap_or_default(),
                found.status.unwrap_or_default().image,
            );
            let rev = image.section.rev;
            if let Some(claim) = &mut image.section.claim {
                claim.holder = "other/1".into();
            }
            let patch =
                sequencer_runtime::section::StatusPatch::new(&uid).section("image", rev, &image)?;
            Ok(patch.apply(&harness.builds(), "lost").await.is_ok())
        })
        .await
    };
    let (outcome, taken) = tokio::join!(harness.build(&builder, "lost", Trigger::Change), take);
    taken?;
    assert_eq!(outcome?, Outcome::ClaimedElsewhere);
    assert_eq!(
        harness.build_status("lost").await?["claim"]["holder"],
        json!("other/1")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_leaves_what_its_pool_is_not_open_to_and_shares_nothing_by_itself() -> Result<()>
{
    let harness = Harness::new().await?;
    let (repository, commit) = repository(&harness, DOCKERFILE).await?;
    harness
        .make_build("other", spec(&repository, &commit, json!({})))
        .await?;
    harness
        .make_component("web", spec(&repository, &commit, json!({})), json!({}))
        .await?;
    let closed = harness.builder("a", &["--pool-namespaces=team-*,ops"])?;
    assert_eq!(
        harness.build(&closed, "other", Trigger::Change).await?,
        Outcome::Stale
    );
    assert_eq!(
        harness.resolve(&closed, "web", Trigger::Change).await?,
        Outcome::Stale
    );
    let open = harness.builder("b", &["--pool-namespaces=team-*,def*"])?;
    assert_eq!(
        harness.resolve(&open, "web", Trigger::Change).await?,
        Outcome::Done
    );
    ensure!(
        harness.builder("c", &["--concurrency=2"]).is_err(),
        "two builds at once that nobody allowed"
    );
    harness.builder("d", &["--concurrency=2", "--shared-processes"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_claims_without_a_result_are_e6101() -> Result<()> {
    let harness = Harness::new().await?;
    let (repository, commit) = repository(&harness, DOCKERFILE).await?;
    let made = harness
        .make_build("poison", spec(&repository, &commit, json!({})))
        .await?;
    let claim = json!({"claim": {"holder": "x/1", "until": "2000-01-01T00:00:00Z", "attempts": 7}});
    let patch = sequencer_runtime::section::StatusPatch::new(&made.uid().unwrap_or_default())
        .section("image", 0, &claim)?;
    let _: sequencer_api::Build = patch.apply(&harness.builds(), "poison").await?;
    let builder = harness.builder("a", &[])?;
    assert_eq!(
        harness.build(&builder, "poison", Trigger::Change).await?,
        Outcome::Recorded
    );
    assert_eq!(
        harness.build_status("poison").await?["retry"]["code"],
        json!("E#6101")
    );
    // A BuildKit that is not there is the builder's trouble: tried again at once, and no failure of
    // the Build.
    harness
        .make_build("alone", spec(&repository, &commit, json!({})))
        .await?;
    assert_eq!(
        tokio::time::timeout(
            Duration::from_secs(30),
            harness.build(&builder, "alone", Trigger::Change)
        )
        .await??,
        Outcome::Recorded
    );
    let image = harness.build_status("alone").await?;
    assert_eq!(
        (&image["retry"]["code"], &image["state"]),
        (&json!("E#1023"), &json!("InProgress")),
        "{image:#}"
    );
    assert_eq!(
        harness.build(&builder, "alone", Trigger::Change).await?,
        Outcome::Recorded
    );
    let again = harness.build_status("alone").await?;
    assert_eq!(again["retry"]["attempts"], json!(2), "{again:#}");
    assert_eq!(
        harness.build(&builder, "alone", Trigger::Change).await?,
        Outcome::Done,
        "the second time it waits"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_told_to_end_finishes_its_build_first() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 3\n").await?;
    let mut process = harness.process("a", &["--drain=1s"]).await?;
    let made = harness
        .make_build("one", spec(&repository, &commit, json!({})))
        .await?;

    harness
        .publish(Verb::Build, "one", &made.uid().unwrap_or_default())
        .await?;

    until("it is claimed", async || {
        Ok(harness.build_status("one").await?["claim"].is_object())
    })
    .await?;

    Command::new("kill")
        .args(["-TERM", &process.id().to_string()])
        .status()?;
    until("it ends", async || Ok(process.try_wait()?.is_some())).await?;
    assert!(process.wait()?.success());
    let image = harness.build_status("one").await?;
    assert_eq!(image["state"], json!("Completed"), "{image:#}");
    Ok(())
}
