//! What a preview costs the API server, by its audit log.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use lab::audit;
use lab::release::{SERVICES, TENANTS};
use serde_json::{Value, json};

use crate::manifest::preview;
use crate::user::{User, unique};

/// What our services wrote to objects whose names begin so. Leases count apart, and Events.
fn writes(user: &User, name: &str) -> Result<BTreeMap<String, usize>> {
    let writes = audit::writes(&user.cluster.layout)?;
    let counts = |write: &&audit::Write| {
        write.user().starts_with("system:serviceaccount:sequencer-")
            && write.name().starts_with(name)
            && !matches!(write.resource(), "leases" | "events")
    };

    let count = audit::count(writes.iter().filter(counts));
    ensure!(!count.is_empty(), "the audit log has nothing of {name}");
    Ok(count)
}

/// How many it took to be ready.
fn seconds(user: &User, name: &str) -> Result<usize> {
    let workspace = format!("workspace/{name}");
    let created: Timestamp = user
        .field(&workspace, ".metadata.creationTimestamp")?
        .parse()?;
    let ready: Timestamp = user.ready(&workspace, "lastTransitionTime")?.parse()?;
    Ok(usize::try_from(ready.duration_since(created).as_secs())?)
}

#[test]
fn the_sample_costs_at_most_forty_eight_writes_and_four_events() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    // The first finds out what is to be pulled.
    let names = [unique("warm"), unique("price")];
    for name in &names {
        user.push(name, "note", name)?;
        user.apply_with_tunnel(name)?;
        user.wait_ready(name)?;
    }
    let name = &names[1];
    let count = writes(&user, name)?;
    // Here a claim is renewed ten times as often as by default. A build is two writes, its claim
    // and its result.
    let renewals = user
        .field(&user.build(name)?, ".status.image.rev")?
        .parse::<usize>()?
        .saturating_sub(2);
    let total = count.values().sum::<usize>() - renewals;
    // Whatever is under way for longer says so every twenty seconds: the Workspace, its Components
    // and its Build.
    let seconds = seconds(&user, name)?;
    ensure!(
        total <= 48 + 3 * (seconds / 20),
        "{total} in {seconds} s: {count:#?}"
    );
    let events = user.kubectl(&["get", "events.events.k8s.io", "-o", "json"])?;
    let events: Value = serde_json::from_str(&events)?;
    let ours = |event: &&Value| {
        let (about, by) = (
            event["regarding"]["name"].as_str(),
            event["reportingController"].as_str(),
        );
        about.is_some_and(|about| about.starts_with(name))
            && by.is_some_and(|by| SERVICES.contains(&by))
    };
    let reasons: Vec<_> = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(ours)
        .map(|event| &event["reason"])
        .collect();
    ensure!(
        reasons.len() <= 4 && reasons.iter().any(|reason| **reason == "Ready"),
        "{reasons:?}"
    );
    names.iter().try_for_each(|name| user.delete(name))
}

#[test]
fn three_plain_components_cost_at_most_twenty_four_writes_and_an_idle_preview_none() -> Result<()> {
    let user = User::new()?;
    let name = &unique("cheap");
    let component = |name: &str| {
        json!({
            "name": name, "networks": [{"name": "tcp", "port": 6379}],
            "template": {"containers": [{"name": name, "image": "redis:latest", "ports": [{"containerPort": 6379}]}]},
        })
    };
    let spec = json!({"components": [component("a"), component("b"), component("c")]});
    user.apply(
        &json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
            .to_string(),
    )?;
    user.wait_ready(name)?;
    let first = writes(&user, name)?;
    let total: usize = first.values().sum();
    ensure!(total <= 24, "{total}: {first:#?}");

    // Somebody else's whole preview later, with many a resync, there is not one more.
    let other = &unique("other");
    user.push(other, "note", other)?;
    user.apply(&preview(other, other, "dockerhub-credentials").to_string())?;
    user.wait_ready(other)?;
    user.delete(other)?;
    assert_eq!(writes(&user, name)?, first);
    user.delete(name)
}
