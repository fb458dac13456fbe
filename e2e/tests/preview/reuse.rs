//! What was built once is not built again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::audit;
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;

use crate::manifest::preview;
use crate::user::{User, unique};

/// From the Build to its published image, when the image is there.
const PUBLISHED: Duration = Duration::from_secs(1);
/// From nothing to a preview that answers, when the image is there.
const READY: Duration = Duration::from_secs(60);

#[test]
fn two_workspaces_of_one_commit_are_built_once_and_a_third_is_published_within_a_second()
-> Result<()> {
    let user = User::of(TENANTS[0])?;
    let branch = &unique("once");
    user.push(branch, "note", branch)?;
    let [first, second, third] =
        ["first", "second", "third"].map(|name| format!("{name}-{branch}"));
    let apply =
        |name: &str| user.apply(&preview(name, branch, "dockerhub-credentials").to_string());
    let reused = |name: &str| user.field(&user.build(name)?, ".status.image.reusedFrom");
    apply(&first)?;
    apply(&second)?;
    user.wait_ready(&first)?;
    user.wait_ready(&second)?;
    let both = [reused(&first)?, reused(&second)?];
    assert_eq!(
        both.iter().filter(|of| of.is_empty()).count(),
        1,
        "{both:?}"
    );

    let applied = Instant::now();
    apply(&third)?;
    let build = until("it has a Build", PATIENCE, || user.build(&third))?;
    until("it is published", PATIENCE, || {
        let state = user.field(&build, ".status.publish.state")?;
        ensure!(state == "Completed", "it is {state:?}");
        Ok(())
    })?;
    let took = until_published(&user, &build)?;
    ensure!(took <= PUBLISHED, "it took {took:?}");
    user.wait_ready(&third)?;
    ensure!(
        applied.elapsed() <= READY,
        "it took {:?}",
        applied.elapsed()
    );
    ensure!(!reused(&third)?.is_empty(), "it was built again");
    [first, second, third]
        .iter()
        .try_for_each(|name| user.delete(name))
}

/// How long it took from the Build until its image was published, by the API server's clock:
/// `kubectl` takes a part of a second itself.
fn until_published(user: &User, build: &str) -> Result<Duration> {
    let name = build.rsplit('/').next().unwrap_or_default();
    let writes = audit::writes(&user.cluster.layout)?;
    let mut of_build = writes.iter().filter(|write| write.name() == name);
    let made = of_build
        .find(|write| write.to_string() == "create builds")
        .context("nobody made it")?;
    let published = of_build
        .rfind(|write| write.user().ends_with(":registry-pusher"))
        .context("nobody published it")?;

    let took = published.answered_at.duration_since(made.asked_at);
    Ok(Duration::try_from(took)?)
}
