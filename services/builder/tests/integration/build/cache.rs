//! What is built once: the same inputs, also at the same time.

use anyhow::{Result, ensure};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::{Value, json};

use super::{DOCKERFILE, repository, spec};
use crate::harness::{Harness, NAMESPACE};
use crate::repository::Repository;

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
