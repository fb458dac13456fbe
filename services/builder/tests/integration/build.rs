//! `build` on a real API server, with real git, BuildKit and registry.

use sequencer_proto::v1::Trigger;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use crate::harness::{Harness, NAMESPACE, until};
use crate::repository::Repository;

/// An argument that would choose whose cache mounts a build sees.
const RESERVED: &str = "BUILDKIT_CACHE_MOUNT_NS";

const DOCKERFILE: &str = "FROM app-base:bookworm\nARG WHO\nCOPY x /x\nRUN echo $WHO >> /x\n";

/// A repository whose Dockerfile is this, and a commit of it.
async fn repository(harness: &Harness, dockerfile: &str) -> Result<(Repository, String)> {
    harness
        .secret("git", &[("token", &harness.secrets.git_token)])
        .await?;
    let repository = Repository::new(&harness.layout, &[("Dockerfile", dockerfile)])?;
    let commit = repository.commit("main", &[("x", "1")])?;
    Ok((repository, commit))
}

fn spec(repository: &Repository, commit: &str, more: Value) -> Value {
    Harness::spec(
        &repository.url(),
        json!({"ref": "main", "commit": commit}),
        more,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_once_and_the_same_inputs_are_the_same_image() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) = repository(&harness, DOCKERFILE).await?;

    harness
        .config_map("settings", json!({"who": "world"}))
        .await?;

    let args = json!({"args": {"valuesFrom": {"configMapRef": {"name": "settings"}}, "items": [{"key": "who", "path": "WHO"}]}});
    let builder = harness.builder("a", &[])?;

    harness
        .make_build("one", spec(&repository, &commit, args.clone()))
        .await?;

    assert_eq!(
        harness.build(&builder, "one", Trigger::Change).await?,
        Outcome::Done
    );

    let image = harness.build_status("one").await?;
    assert_eq!(
        (&image["state"], &image["observedGeneration"]),
        (&json!("Completed"), &json!(1)),
        "{image:#}"
    );

    ensure!(
        image["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:")),
        "{image:#}"
    );
    ensure!(
        image["size"].as_i64().is_some_and(|size| size > 0) && image["claim"].is_null(),
        "{image:#}"
    );
    assert_eq!(image["sources"][0]["subject"], json!("A change"));
    assert_eq!(
        image["cachedSteps"]
            .as_str()
            .and_then(|steps| steps.split_once('/'))
            .map(|(_, all)| all),
        Some("3")
    );

    let key = image["key"].as_str().unwrap_or_default();
    assert_eq!(
        image["staging"],
        json!(sequencer_api::names::staging(NAMESPACE, key))
    );

    // Delivered again, it is as it should be.
    assert_eq!(
        harness.build(&builder, "one", Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(harness.build_status("one").await?["rev"], image["rev"]);

    // A commit that changes nothing is the same image, without a build.
    let other = repository.commit("main", &[])?;
    harness
        .make_build("two", spec(&repository, &other, args))
        .await?;

    assert_eq!(
        harness.build(&builder, "two", Trigger::Change).await?,
        Outcome::Done
    );

    let again = harness.build_status("two").await?;
    assert_eq!(
        (&again["digest"], &again["reusedFrom"], &again["rev"]),
        (&image["digest"], &json!("one"), &json!(1))
    );

    // Another argument is another image.
    harness
        .make_build(
            "three",
            spec(
                &repository,
                &commit,
                json!({"args": {"values": [{"name": "WHO", "value": "you"}]}}),
            ),
        )
        .await?;

    assert_eq!(
        harness.build(&builder, "three", Trigger::Change).await?,
        Outcome::Done
    );
    assert_ne!(harness.build_status("three").await?["key"], image["key"]);
    assert_eq!(harness.kept("a", "work")?, harness.kept("a", "logins")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_is_e1011_with_its_line_and_last_words_and_no_secret() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let dockerfile =
        "FROM app-base:bookworm\nRUN --mount=type=secret,id=npm cat /run/secrets/npm && exit 7\n";
    let (repository, commit) = repository(&harness, dockerfile).await?;
    harness
        .secret("npm", &[("token", "SEQCANARY-1-npm")])
        .await?;
    let secrets = json!({"secrets": {"valuesFrom": {"secretRef": {"name": "npm"}}, "items": [{"key": "token", "path": "npm"}]}});
    harness
        .make_build("fails", spec(&repository, &commit, secrets))
        .await?;
    let builder = harness.builder("a", &[])?;
    assert_eq!(
        harness.build(&builder, "fails", Trigger::Change).await?,
        Outcome::Recorded
    );
    let image = harness.build_status("fails").await?;
    let failure = &image["failure"];
    assert_eq!(
        (&image["state"], &failure["code"]),
        (&json!("Error"), &json!("E#1011")),
        "{image:#}"
    );
    assert_eq!(
        (&failure["line"], &failure["exitCode"]),
        (&json!(2), &json!(7)),
        "{image:#}"
    );
    ensure!(
        failure["step"]
            .as_str()
            .is_some_and(|step| step.contains("RUN --mount=type=secret,id=npm")),
        "{image:#}"
    );
    assert_eq!(failure["logTail"], json!(["***"]), "{image:#}");
    ensure!(
        !image.to_string().contains("SEQCANARY") && image["claim"].is_null(),
        "{image:#}"
    );
    // Whoever followed the log saw the step, and no secret either.
    let log = harness
        .log(image["log"].as_str().unwrap_or_default())
        .await?;
    ensure!(
        log.contains("RUN --mount=type=secret")
            && log.contains("***")
            && !log.contains("SEQCANARY"),
        "{log}"
    );
    // It is not tried again before its time.
    assert_eq!(
        harness.build(&builder, "fails", Trigger::Change).await?,
        Outcome::Done
    );
    assert_eq!(harness.build_status("fails").await?["rev"], image["rev"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_lie_side_by_side_and_only_what_is_in_the_context_counts() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (app, _) = repository(
        &harness,
        "FROM app-base:bookworm\nCOPY . /src\nRUN test -e /src/web/page && ! test -e /src/lib\n",
    )
    .await?;
    let first = app.commit(
        "main",
        &[
            ("web/page", "1"),
            ("web/Dockerfile", "FROM app-base:bookworm\nCOPY page /\n"),
        ],
    )?;
    let lib = Repository::new(&harness.layout, &[("code", "1")])?;
    let builder = harness.builder("a", &[])?;
    let spec = async |name: &str,
                      context: &str,
                      app_commit: &str,
                      lib_commit: &str|
           -> Result<Value> {
        let import = |path: &str, url: String, commit: &str| {
            let credentials = json!({"authScheme": "token", "secretRef": {"name": "git"}});
            json!({"path": path, "credentials": credentials, "contentFrom": {"git": {"url": url, "commit": commit}}})
        };
        let imports = json!([
            import("app", app.url(), app_commit),
            import("lib", lib.url(), lib_commit)
        ]);
        harness
            .make_build(
                name,
                spec(
                    &app,
                    app_commit,
                    json!({"context": context, "importContent": imports}),
                ),
            )
            .await?;
        assert_eq!(
            harness.build(&builder, name, Trigger::Change).await?,
            Outcome::Done,
            "{:#}",
            harness.build_status(name).await?
        );
        Ok(harness.build_status(name).await?["key"].clone())
    };
    let (lib_one, lib_two) = (
        lib.commit("main", &[("code", "2")])?,
        lib.commit("main", &[("code", "3")])?,
    );
    let one = spec("one", "app", &first, &lib_one).await?;
    assert_eq!(
        spec("two", "app", &first, &lib_two).await?,
        one,
        "what is beside the context counts"
    );
    let web = spec("three", "./app/web/", &first, &lib_one).await?;
    let second = app.commit("main", &[("x", "2")])?;
    assert_eq!(
        spec("four", "app/web", &second, &lib_one).await?,
        web,
        "what is above the context counts"
    );
    assert_ne!(spec("five", "app", &second, &lib_one).await?, one);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_of_one_key_at_once_are_built_once() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) = repository(
        &harness,
        "FROM app-base:bookworm\nRUN sleep 2 && date +%N > /x\n",
    )
    .await?;

    for name in ["one", "two"] {
        harness
            .make_build(name, spec(&repository, &commit, json!({})))
            .await?;
    }

    let (a, b) = (harness.builder("a", &[])?, harness.builder("b", &[])?);
    let (one, two) = tokio::join!(
        harness.build(&a, "one", Trigger::Change),
        harness.build(&b, "two", Trigger::Change)
    );
    assert_eq!((one?, two?), (Outcome::Done, Outcome::Done));

    let (one, two) = (
        harness.build_status("one").await?,
        harness.build_status("two").await?,
    );
    assert_eq!(one["digest"], two["digest"]);
    let reused = [&one, &two].map(|image| image["reusedFrom"].is_string());
    assert_eq!(
        reused.iter().filter(|reused| **reused).count(),
        1,
        "{one:#} {two:#}"
    );
    Ok(())
}

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
async fn a_build_that_takes_too_long_is_e1018_and_one_without_its_dockerfile_e1008() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 1000\n").await?;
    harness
        .config_map("reserved", json!({RESERVED: "another's"}))
        .await?;
    harness
        .config_map("plain", json!({"x": "another's"}))
        .await?;
    harness
        .make_build("slow", spec(&repository, &commit, json!({})))
        .await?;
    let builder = harness.builder("a", &["--max-timeout=5s"])?;
    assert_eq!(
        harness.build(&builder, "slow", Trigger::Change).await?,
        Outcome::Recorded
    );
    let image = harness.build_status("slow").await?;
    assert_eq!(
        (&image["failure"]["code"], &image["claim"], &image["step"]),
        (&json!("E#1018"), &json!(null), &json!(null)),
        "{image:#}"
    );
    for (name, more, code) in [
        ("no-file", json!({"dockerfile": "No"}), "E#1008"),
        ("no-folder", json!({"context": "no/folder"}), "E#1008"),
        (
            "no-secret",
            json!({"secrets": {"valuesFrom": {"secretRef": {"name": "none"}}}}),
            "E#1007",
        ),
        (
            "no-map",
            json!({"args": {"valuesFrom": {"configMapRef": {"name": "none"}}}}),
            "E#1001",
        ),
        (
            "reserved",
            json!({"args": {"valuesFrom": {"configMapRef": {"name": "reserved"}}}}),
            "E#6043",
        ),
        (
            "renamed",
            json!({"args": {"valuesFrom": {"configMapRef": {"name": "plain"}}, "items": [{"key": "x", "path": RESERVED}]}}),
            "E#6043",
        ),
    ] {
        harness
            .make_build(name, spec(&repository, &commit, more))
            .await?;
        assert_eq!(
            harness.build(&builder, name, Trigger::Change).await?,
            Outcome::Recorded
        );
        assert_eq!(
            harness.build_status(name).await?["retry"]["code"],
            json!(code)
        );
    }
    let unknown = "a".repeat(40);
    harness
        .make_build("no-commit", spec(&repository, &unknown, json!({})))
        .await?;
    assert_eq!(
        harness
            .build(&builder, "no-commit", Trigger::Change)
            .await?,
        Outcome::Recorded
    );
    assert_eq!(
        harness.build_status("no-commit").await?["retry"]["code"],
        json!("E#1012")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buildkit_that_is_killed_is_e1023_and_the_build_goes_on_at_once() -> Result<()> {
    let harness = Harness::with_buildkit().await?;
    let (repository, commit) =
        repository(&harness, "FROM app-base:bookworm\nRUN sleep 4713\n").await?;

    harness
        .make_build("lost", spec(&repository, &commit, json!({})))
        .await?;

    let builder = harness.builder("a", &[])?;
    let kill = async {
        until("a step runs", async || {
            Ok(Command::new("pgrep")
                .args(["-f", "^sleep 4713$"])
                .status()
                .is_ok_and(|found| found.success()))
        })
        .await?;
        // By its socket, which is this test's own.
        let socket = harness.daemon.as_ref().context("no BuildKit")?.address();
        Ok::<_, anyhow::Error>(
            Command::new("pkill")
                .args(["-KILL", "-f", socket.trim_start_matches("unix://")])
                .status()?,
        )
    };

    let (outcome, killed) = tokio::join!(harness.build(&builder, "lost", Trigger::Change), kill);
    ensure!(killed?.success(), "BuildKit was not there");
    assert_eq!(outcome?, Outcome::Recorded);
    let image = harness.build_status("lost").await?;
    assert_eq!(
        (&image["failure"]["code"], &image["state"]),
        (&json!("E#1023"), &json!("InProgress")),
        "{image:#}"
    );

    let next: jiff::Timestamp = serde_json::from_value(image["retry"]["nextAttemptAt"].clone())?;
    ensure!(
        next <= jiff::Timestamp::now() && image["claim"].is_null(),
        "{image:#}"
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
