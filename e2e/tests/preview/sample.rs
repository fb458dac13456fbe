//! The sample, from `kubectl create` to an answer, and to nothing left.

use anyhow::{Context as _, Result, ensure};
use lab::progress::Progress;
use lab::sample::{FILE, LABEL};
use serde_json::Value;

use crate::user::User;

/// Applies the sample under a name of its own: `apply` cannot generate one.
fn apply(user: &User, name: &str) -> Result<()> {
    let sample = std::fs::read_to_string(user.cluster.layout.repository.join(FILE))?;
    let named = sample.replace("generateName: workspace-sample-", &format!("name: {name}"));
    ensure!(named != sample, "the sample's name is not where it was");
    user.apply(&named.replace("$(YOUR_ACCOUNT_ID)", &user.secrets.cloudflare_account))
}

#[test]
fn the_sample_is_ready_counts_by_dns_and_tunnel_and_is_made_only_once() -> Result<()> {
    let user = User::new()?;
    let url = user.cluster.provide_sample(&Progress::default())?;
    let (first, second) = (user.clicks(&url)?, user.clicks(&url)?);

    for counter in ["mysql", "redis"] {
        let count = |clicks: &Value| {
            clicks
                .get(counter)
                .and_then(Value::as_u64)
                .with_context(|| format!("no {counter}: {clicks}"))
        };
        ensure!(count(&second)? > count(&first)?, "{second} after {first}");
    }

    assert_eq!(user.cluster.provide_sample(&Progress::default())?, url);
    let all = user.kubectl(&["get", "workspaces", "-l", LABEL, "-o", "name"])?;
    assert_eq!(all.lines().count(), 1, "{all}");

    // The columns tell the story.
    let name = all.trim();
    let row = user.kubectl(&["get", name, "--no-headers"])?;
    let columns: Vec<_> = row.split_whitespace().collect();

    assert_eq!(
        columns.get(1..5),
        Some(&["True", "Healthy", "3/3", url.as_str()][..]),
        "{row}"
    );

    let commit = user.field(name, ".status.commit")?;
    assert_eq!(
        second
            .get("commit")
            .and_then(Value::as_str)
            .and_then(|whole| whole.get(..12)),
        Some(commit.as_str())
    );
    Ok(())
}

#[test]
fn a_workspace_that_is_deleted_leaves_nothing_and_applied_again_has_the_same_url_without_a_build()
-> Result<()> {
    let user = User::new()?;
    let name = "user";
    apply(&user, name)?;
    user.wait_ready(name)?;
    let object = format!("workspace/{name}");
    let url = user.field(&object, ".status.url")?;
    user.clicks(&url)?;
    let (uid, host) = user.marks(name)?;
    ensure!(
        user.live()?.contains(&uid),
        "no tunnel carries the Workspace's uid"
    );
    user.delete(name)?;
    user.wait_gone(&uid, &host)?;

    apply(&user, name)?;
    user.wait_ready(name)?;
    assert_eq!(user.field(&object, ".status.url")?, url);
    let builds = user.kubectl(&[
        "get",
        "builds",
        "-l",
        "se.quencer.io/workspace=user",
        "-o",
        "jsonpath={.items[*].status.image.cachedSteps}",
    ])?;
    ensure!(builds.is_empty(), "it was built again: {builds}");
    user.kubectl(&["delete", &object, "--timeout=120s"])
        .map(drop)
}
