//! Two commits that were both built while the registry refused the login: once it takes it, the
//! older one does not take the tag from the newer one.

use anyhow::{Context as _, Result, ensure};
use lab::layout::text;
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::manifest::built;
use crate::user::{User, unique};

/// Where the application is published, as the cluster's nodes call it.
const REPOSITORY: &str = "registry-1.docker.io/myuser/ephemeralbuilds";

/// The application alone, published with this login, from its branch or pinned to a commit.
fn preview(name: &str, login: &str, commit: Option<&str>) -> String {
    let mut preview = built(name, "default");
    let build = &mut preview["spec"]["components"][0]["build"];
    build["containerRegistries"][0]["credentials"]["secretRef"]["name"] = login.into();
    if let Some(commit) = commit {
        build["importContent"][0]["contentFrom"]["git"]["commit"] = commit.into();
    }
    preview.to_string()
}

fn login(name: &str, password: &str) -> String {
    let values = json!({"username": "myuser", "password": password});
    let kind = "kubernetes.io/basic-auth";
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "stringData": values})
        .to_string()
}

/// The Build of a commit, once it is there.
fn build_of(user: &User, name: &str, commit: &str) -> Result<String> {
    let selector = format!(
        "se.quencer.io/workspace={name},se.quencer.io/commit={}",
        &commit[..12]
    );
    until(&format!("{commit} has a Build"), PATIENCE, || {
        let found = user.kubectl(&["get", "builds", "-l", &selector, "-o", "name"])?;
        found
            .lines()
            .next()
            .map(ToOwned::to_owned)
            .with_context(|| format!("not one: {found:?}"))
    })
}

fn crane(user: &User, args: &[&str]) -> Result<String> {
    let crane = text(user.cluster.layout.bin("crane"));
    user.cluster
        .general
        .run(&[&[crane.as_str()], args].concat())
}

/// Whether the preview's tag, whatever it pointed to before, points to what this Build is.
fn has_the_tag(user: &User, name: &str, build: &str) -> Result<bool> {
    let digest = user.field(build, ".status.image.digest")?;
    ensure!(!digest.is_empty(), "{build} is not built");
    Ok(crane(user, &["digest", &format!("{REPOSITORY}:{name}")])?.trim() == digest)
}

/// Whether the tag that stays with a commit's image is there.
fn is_tagged(user: &User, commit: &str) -> Result<bool> {
    Ok(crane(user, &["ls", REPOSITORY])?
        .lines()
        .any(|tag| tag.starts_with(&format!("seq-{}-", &commit[..12]))))
}

#[test]
fn a_build_that_a_newer_commit_overtook_takes_no_tag_until_its_commit_is_wanted_again() -> Result<()>
{
    let user = User::of(TENANTS[0])?;
    let (name, secret) = (&unique("overtaken"), &unique("login"));
    user.apply(&login(secret, "wrong"))?;
    let first = user.push_step(name, &format!("RUN echo {name} one > /tmp/version"))?;
    user.apply(&preview(name, secret, None))?;
    let older = build_of(&user, name, &first)?;
    user.wait_code(&older, "E#1020")?;
    let second = user.push_step(name, &format!("RUN echo {name} two > /tmp/version"))?;
    let newer = build_of(&user, name, &second)?;
    user.wait_code(&newer, "E#1020")?;

    // The password is mended. The newer one is published; the older one is over.
    user.apply(&login(secret, &user.secrets.hub_password))?;
    user.wait_ready(name)?;
    until("the tag is the newer commit's", PATIENCE, || {
        ensure!(has_the_tag(&user, name, &newer)?, "it is another's");
        Ok(())
    })?;

    let over = until("the older Build is settled", PATIENCE, || {
        let reason = user.ready(&older, "reason")?;
        ensure!(
            ["Superseded", "Completed"].contains(&reason.as_str()),
            "it is {reason}"
        );
        ensure!(
            user.field(&older, ".status.publish.retry")?.is_empty(),
            "it is tried again"
        );
        Ok(reason)
    })?;

    ensure!(
        has_the_tag(&user, name, &newer)?,
        "the older commit took the tag: its Build is {over}"
    );

    assert_eq!(
        (over.as_str(), user.field(&older, ".status.phase")?.as_str()),
        ("Superseded", "Superseded")
    );
    ensure!(!is_tagged(&user, &first)?, "the older commit has a tag");
    ensure!(is_tagged(&user, &second)?, "the newer commit has none");

    let runs = |build: &str| -> Result<bool> {
        let found = user.field(&user.component(name, "app")?, ".status.deploy.build")?;
        Ok(build.ends_with(&format!("/{found}")) && !found.is_empty())
    };

    ensure!(runs(&newer)?, "the newer commit does not run");

    // Rolled back on purpose, it is published and runs, and the tag moves to it.
    user.apply(&preview(name, secret, Some(&first)))?;
    until("the older commit runs", PATIENCE, || {
        ensure!(runs(&older)?, "it does not");
        Ok(())
    })?;
    user.wait_ready(name)?;
    ensure!(has_the_tag(&user, name, &older)?, "the tag is another's");
    ensure!(is_tagged(&user, &first)?, "its own tag is missing");
    let marks: Value = serde_json::from_str(&user.kubectl(&["get", &older, "-o", "json"])?)?;
    ensure!(
        marks["metadata"]["annotations"]
            .get("se.quencer.io/superseded-by")
            .is_none(),
        "{marks}"
    );
    user.delete(name)?;
    user.kubectl(&["delete", "secret", secret]).map(drop)
}
