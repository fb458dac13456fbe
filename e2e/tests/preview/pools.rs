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
use crate::walk::{Walk, unique};

fn scale(walk: &Walk, pool: &str, replicas: usize) -> Result<()> {
    let (deployment, replicas) = (
        format!("deployment/builder-{pool}"),
        format!("--replicas={replicas}"),
    );
    walk.cluster
        .kubectl(&["-n", BUILDS, "scale", &deployment, &replicas])
        .map(drop)
}

/// Previews of one component, whose builds take a while, in these pools.
fn apply(walk: &Walk, pools: &[&str]) -> Result<Vec<String>> {
    let begin = |pool: &&str| {
        let name = unique(pool);
        walk.push_step(&name, &format!("RUN sleep 15 # {name}"))?;
        walk.apply(&built(&name, pool).to_string())?;
        Ok(name)
    };
    pools.iter().map(begin).collect()
}

/// The pod that builds, or built, a Workspace's only Build; empty as long as none does.
fn builder(walk: &Walk, name: &str) -> Result<String> {
    walk.field(&walk.build(name)?, ".status.image.builder")
}

#[test]
fn builds_spread_over_replicas_and_pools_and_scaling_down_loses_none() -> Result<()> {
    let walk = Walk::of(TENANTS[0])?;
    scale(&walk, "default", 3)?;
    walk.cluster.kubectl(&[
        "-n",
        BUILDS,
        "rollout",
        "status",
        "deployment/builder-default",
        "--timeout=120s",
    ])?;
    let names = apply(&walk, &["default", "default", "default", "large"])?;
    let builders = |names: &[String]| {
        names
            .iter()
            .map(|name| builder(&walk, name))
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

    scale(&walk, "default", 1)?;
    names.iter().try_for_each(|name| walk.wait_ready(name))?;
    // Those whose pod was told to stop were finished by it, and none was built twice.
    assert_eq!(builders(&names)?, begun);
    until("one replica is left", PATIENCE, || {
        let selector = "se.quencer.io/pool=default";
        let pods = walk
            .cluster
            .kubectl(&["-n", BUILDS, "get", "pods", "-l", selector, "-o", "name"])?;
        ensure!(pods.lines().count() == 1, "{pods}");
        Ok(())
    })?;
    names.iter().try_for_each(|name| walk.delete(name))
}

#[test]
fn a_pool_runs_on_the_nodes_that_it_names() -> Result<()> {
    let walk = Walk::new()?;
    walk.cluster.start_kwok()?;
    walk.apply(
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
    let found = walk.install_with("  pools:\n", pool).and_then(|()| {
        walk.cluster
            .kubectl(&["-n", BUILDS, "get", "pods", "-l", selector, "-o", node])
    });
    // Whatever came of it: no other test should meet that node.
    walk.cluster
        .install_chart(&walk.cluster.installed_values())?;
    walk.cluster.kubectl(&["delete", "node", "fast"])?;
    assert_eq!(found?, "fast");
    Ok(())
}
