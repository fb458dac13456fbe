//! What was built once is not built again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::audit;
use lab::release::TENANTS;
use serde_json::{Value, json};

use crate::manifest::preview;
use crate::user::{User, unique};

/// From the Build to its published image, when the image is there.
const PUBLISHED: Duration = Duration::from_secs(1);
/// From nothing to a preview that answers, when the image is there.
const READY: Duration = Duration::from_secs(60);

#[test]
fn what_was_built_once_is_not_built_again_and_is_published_within_a_second() -> Result<()> {
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
    user.wait_ready(&third)?;
    ensure!(
        applied.elapsed() <= READY,
        "it took {:?}",
        applied.elapsed()
    );
    ensure!(!reused(&third)?.is_empty(), "it was built again");

    // One that nothing but its publication comes after: no pod that starts takes its time.
    let alone = &format!("alone-{branch}");
    let spec = user.field(&user.build(&third)?, ".spec")?;
    let mut spec: Value = serde_json::from_str(&spec)?;
    spec["containerRegistries"][0]["tags"] = json!([alone]);
    let metadata = json!({"name": alone});
    let build = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": metadata, "spec": spec});
    user.apply(&build.to_string())?;
    user.kubectl(&[
        "wait",
        "build",
        alone,
        "--for=condition=Ready",
        "--timeout=60s",
    ])?;

    let took = until_published(&user, alone)?;
    ensure!(took <= PUBLISHED, "it took {took:?}");
    user.kubectl(&["delete", "build", alone])?;
    [first, second, third]
        .iter()
        .try_for_each(|name| user.delete(name))
}

/// How long it took from the Build until its image was published, by the API server's clock:
/// `kubectl` takes a part of a second itself.
fn until_published(user: &User, build: &str) -> Result<Duration> {
    let writes = audit::writes(&user.cluster.layout)?;
    let mut of_build = writes.iter().filter(|write| write.name() == build);
    let made = of_build
        .find(|write| write.to_string() == "create builds")
        .context("nobody made it")?;
    let published = of_build
        .rfind(|write| write.user().ends_with(":registry-pusher"))
        .context("nobody published it")?;

    let took = published.answered_at.duration_since(made.asked_at);
    Ok(Duration::try_from(took)?)
}
