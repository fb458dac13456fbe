//! What was built once is not built again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;

use crate::manifest::preview;
use crate::walk::{Walk, unique};

/// From the Build to its published image, when the image is there.
const PUBLISHED: Duration = Duration::from_secs(1);
/// From nothing to a preview that answers, when the image is there.
const READY: Duration = Duration::from_secs(60);

#[test]
fn two_workspaces_of_one_commit_are_built_once_and_a_third_is_published_within_a_second()
-> Result<()> {
    let walk = Walk::of(TENANTS[0])?;
    let branch = &unique("once");
    walk.push(branch, "note", branch)?;
    let [first, second, third] =
        ["first", "second", "third"].map(|name| format!("{name}-{branch}"));
    let apply =
        |name: &str| walk.apply(&preview(name, branch, "dockerhub-credentials").to_string());
    let reused = |name: &str| walk.field(&walk.build(name)?, ".status.image.reusedFrom");
    apply(&first)?;
    apply(&second)?;
    walk.wait_ready(&first)?;
    walk.wait_ready(&second)?;
    let both = [reused(&first)?, reused(&second)?];
    assert_eq!(
        both.iter().filter(|of| of.is_empty()).count(),
        1,
        "{both:?}"
    );

    let applied = Instant::now();
    apply(&third)?;
    let build = until("it has a Build", PATIENCE, || walk.build(&third))?;
    let made = Instant::now();
    until("it is published", PATIENCE, || {
        let state = walk.field(&build, ".status.publish.state")?;
        ensure!(state == "Completed", "it is {state:?}");
        Ok(())
    })?;
    ensure!(made.elapsed() <= PUBLISHED, "it took {:?}", made.elapsed());
    walk.wait_ready(&third)?;
    ensure!(
        applied.elapsed() <= READY,
        "it took {:?}",
        applied.elapsed()
    );
    ensure!(!reused(&third)?.is_empty(), "it was built again");
    [first, second, third]
        .iter()
        .try_for_each(|name| walk.delete(name))
}
