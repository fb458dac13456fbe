//! A preview that is called as the chart's own parts are: it runs, and gets none of what is meant
//! for them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::user::User;

/// What the chart calls itself, and two of its parts with the name of their port: the mirror that
/// BuildKit takes base images from, and the registry that is sent the builders' password.
const RELEASE: &str = "sequencer";
const PARTS: [&str; 2] = ["docker-cache", "staging"];
const PORT: &str = "registry";

/// A Workspace of that name with components of these, each of which answers on the port that the
/// Services send to.
fn imitation() -> String {
    let component = |name: &&str| {
        let container = json!({
            "name": "registry", "image": "app-base:bookworm", "ports": [{"name": PORT, "containerPort": 5000}],
            "command": ["python3", "-m", "http.server", "5000"],
        });
        json!({
            "name": name, "template": {"containers": [container]},
            "networks": [{"name": PORT, "port": 5000, "targetPort": PORT}],
        })
    };
    let components: Vec<_> = PARTS.iter().map(component).collect();
    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": RELEASE},
        "spec": {"components": components},
    })
    .to_string()
}

/// The names of the pods that a Service sends to.
fn endpoints(user: &User, service: &str) -> Result<BTreeSet<String>> {
    let selector = format!("kubernetes.io/service-name={service}");
    let names = user.kubectl(&[
        "get",
        "endpointslices",
        "-l",
        &selector,
        "-o",
        "jsonpath={.items[*].endpoints[*].targetRef.name}",
    ])?;
    Ok(names.split_whitespace().map(ToOwned::to_owned).collect())
}

fn pods(user: &User, selector: &str) -> Result<BTreeSet<String>> {
    let names = user.kubectl(&[
        "get",
        "pods",
        "-l",
        selector,
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ])?;
    Ok(names.split_whitespace().map(ToOwned::to_owned).collect())
}

/// The Services of the chart with their selectors, as `key=value,key=value`.
fn services(user: &User) -> Result<Vec<(String, String)>> {
    let list = user.kubectl(&[
        "get",
        "services",
        "-l",
        "app.kubernetes.io/managed-by=Helm",
        "-o",
        "json",
    ])?;
    let list: Value = serde_json::from_str(&list)?;
    let service = |service: &Value| {
        let selector = service["spec"]["selector"]
            .as_object()
            .context("no selector")?;
        let pairs: Vec<_> = selector
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        Ok((
            service["metadata"]["name"]
                .as_str()
                .context("no name")?
                .to_owned(),
            pairs.join(","),
        ))
    };
    list["items"]
        .as_array()
        .context("no list")?
        .iter()
        .map(service)
        .collect()
}

/// Makes it, and looks whether it runs and whether any of the chart's Services has its pods.
fn imitate(user: &User) -> Result<()> {
    user.apply(&imitation())?;
    user.wait_ready(RELEASE)?;
    let uid = user.field(&format!("workspace/{RELEASE}"), ".metadata.uid")?;
    let theirs = pods(user, &format!("se.quencer.io/ws-uid={uid}"))?;
    ensure!(theirs.len() == PARTS.len(), "{theirs:?}");

    // Its own Services send to it: whatever watches pods has seen them, and would have taken them
    // for the chart's too.
    for part in PARTS {
        let service = user.field(
            &user.component(RELEASE, part)?,
            ".status.deploy.services[0].name",
        )?;
        until(&format!("{service} has its pod"), PATIENCE, || {
            let found = endpoints(user, &service)?;
            ensure!(found.len() == 1 && found.is_subset(&theirs), "{found:?}");
            Ok(())
        })?;
    }

    let services = services(user)?;

    for part in PARTS {
        let (_, selector) = services
            .iter()
            .find(|(name, _)| name == part)
            .with_context(|| format!("no Service {part}"))?;
        let ours = pods(user, selector)?;

        ensure!(
            !ours.is_empty() && ours.is_disjoint(&theirs),
            "{part} selects {ours:?}"
        );

        let found = endpoints(user, part)?;
        ensure!(
            !found.is_empty() && found.is_disjoint(&theirs),
            "{part} sends to {found:?}"
        );
    }

    // No other part of the chart has a pod of it either.
    for (name, selector) in services {
        ensure!(
            pods(user, &selector)?.is_disjoint(&theirs),
            "{name} selects {selector}"
        );
    }

    Ok(())
}

#[test]
fn a_preview_that_is_called_as_the_chart_runs_and_answers_for_none_of_its_parts() -> Result<()> {
    let user = User::new()?;
    let remove = || {
        user.kubectl(&[
            "delete",
            "workspace",
            RELEASE,
            "--ignore-not-found",
            "--timeout=120s",
        ])
    };

    // The names are the attack: an earlier run may have left them.
    remove()?;
    let imitated = imitate(&user);
    // Whatever came of it: everybody else's builds go by the mirror.
    remove()?;
    imitated
}
