//! Pools of builders: builds spread over replicas and pools, scaling loses none, and pools run
//! where they are placed.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use lab::parts::kwok;
use lab::release::{BUILDS, TENANTS};
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::json;

use crate::manifest::built;
use crate::user::{User, unique};

fn scale(user: &User, pool: &str, replicas: usize) -> Result<()> {
    let (deployment, replicas) = (
        format!("deployment/builder-{pool}"),
        format!("--replicas={replicas}"),
    );
    user.cluster
        .kubectl(&["-n", BUILDS, "scale", &deployment, &replicas])
        .map(drop)
}

/// Previews of one component, whose builds take a while, in these pools.
fn apply(user: &User, pools: &[&str]) -> Result<Vec<String>> {
    let begin = |pool: &&str| {
        let name = unique(pool);
        user.push_step(&name, &format!("RUN sleep 15 # {name}"))?;
        user.apply(&built(&name, pool).to_string())?;
        Ok(name)
    };
    pools.iter().map(begin).collect()
}

/// The pod that builds, or built, a Workspace's only Build; empty as long as none does.
fn builder(user: &User, name: &str) -> Result<String> {
    user.field(&user.build(name)?, ".status.image.builder")
}

#[test]
fn builds_spread_over_replicas_and_pools_and_scaling_down_loses_none() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    scale(&user, "default", 3)?;
    user.cluster.kubectl(&[
        "-n",
        BUILDS,
        "rollout",
        "status",
        "deployment/builder-default",
        "--timeout=120s",
    ])?;

    let names = apply(&user, &["default", "default", "default", "large"])?;
    let builders = |names: &[String]| {
        names
            .iter()
            .map(|name| builder(&user, name))
            .collect::<Result<Vec<_>>>()
    };

    let begun = until("every build has begun", PATIENCE, || {
        let builders = builders(&names)?;
        ensure!(
            builders.iter().all(|builder| !builder.is_empty()),
            "{builders:?}"
        );
        Ok(builders)
    })?;
    let (small, large) = begun.split_at(3);

    ensure!(
        small.iter().all(|pod| pod.starts_with("builder-default-")),
        "{small:?}"
    );
    ensure!(
        large.iter().all(|pod| pod.starts_with("builder-large-")),
        "{large:?}"
    );
    ensure!(
        small.iter().collect::<BTreeSet<_>>().len() == 3,
        "one replica has two at once: {small:?}"
    );

    scale(&user, "default", 1)?;
    names.iter().try_for_each(|name| user.wait_ready(name))?;
    // Those whose pod was told to stop were finished by it, and none was built twice.
    assert_eq!(builders(&names)?, begun);
    until("one replica is left", PATIENCE, || {
        let selector = "se.quencer.io/pool=default";
        let pods = user
            .cluster
            .kubectl(&["-n", BUILDS, "get", "pods", "-l", selector, "-o", "name"])?;
        ensure!(pods.lines().count() == 1, "{pods}");
        Ok(())
    })?;
    names.iter().try_for_each(|name| user.delete(name))
}

#[test]
fn a_pool_runs_on_the_nodes_that_it_names() -> Result<()> {
    let user = User::new()?;
    user.cluster.start_kwok()?;
    user.apply(
        &json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "fast", "labels": {"pool": "fast"}, "annotations": {kwok::ANNOTATION: "fake"}},
            "spec": {"taints": [{"key": "pool", "value": "fast", "effect": "NoSchedule"}]},
        })
        .to_string(),
    )?;

    let pool = "  pools:\n  - {name: fast, nodeSelector: {pool: fast}, tolerations: [{key: pool, value: fast}]}\n";
    let selector = "se.quencer.io/pool=fast";
    let node = "jsonpath={.items[*].spec.nodeName}";
    let found = user.install_with("  pools:\n", pool).and_then(|()| {
        user.cluster
            .kubectl(&["-n", BUILDS, "get", "pods", "-l", selector, "-o", node])
    });

    // Whatever came of it: no other test should meet that node.
    user.cluster
        .install_chart(&user.cluster.installed_values())?;
    user.cluster.kubectl(&["delete", "node", "fast"])?;
    assert_eq!(found?, "fast");
    Ok(())
}
