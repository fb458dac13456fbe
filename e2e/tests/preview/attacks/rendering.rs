//! A little that becomes much: a variable of 4 KiB, named again and again in 15 characters.

use anyhow::{Result, ensure};
use lab::release::{NAMESPACE, TENANTS};
use serde_json::{Value, json};

use crate::user::{User, unique};

/// How often a value may name the variable: it has at most 32 KiB.
const TIMES: usize = 2_184;

/// A Workspace that is deleted however its test ends: as long as it is there it may do harm.
struct Harm<'a>(&'a User, &'a str);

impl Drop for Harm<'_> {
    fn drop(&mut self) {
        drop(self.0.kubectl(&[
            "delete",
            "workspace",
            self.1,
            "--ignore-not-found",
            "--wait=false",
        ]));
    }
}

/// Twelve values, each with the variable so often.
fn env(times: usize) -> Value {
    let value = "${variables::A}".repeat(times);
    (0..12)
        .map(|number| json!({"name": format!("V{number}"), "value": value}))
        .collect()
}

fn workspace(name: &str, times: usize) -> Value {
    let container = json!({"name": "web", "image": "redis:latest", "env": env(times)});
    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
        "spec": {
            "variables": [{"name": "A", "value": "a".repeat(4096)}],
            "components": [{"name": "web", "template": {"containers": [container]}}],
        },
    })
}

/// The deployer's pods, and how often each was started.
fn deployers(user: &User) -> Result<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount} {end}";
    let selector = "app.kubernetes.io/part-of=sequencer,app.kubernetes.io/name=deployer";
    let found = user
        .cluster
        .kubectl(&["-n", NAMESPACE, "get", "pods", "-l", selector, "-o", path])?;
    ensure!(!found.trim().is_empty(), "there is no deployer");
    Ok(found)
}

#[test]
fn a_component_of_a_hundred_mebibytes_is_e6016_and_its_neighbours_become_ready_meanwhile()
-> Result<()> {
    let (attacker, neighbour) = (User::of(TENANTS[0])?, User::of(TENANTS[1])?);
    let before = deployers(&attacker)?;
    let (bomb, plain) = (&unique("bomb"), &unique("plain"));
    let _harm = Harm(&attacker, bomb);
    // Larger than the annotation that `kubectl apply` writes may be, and a quarter of what etcd
    // takes.
    let create = ["create", "-n", attacker.namespace, "-f", "-"];

    attacker
        .cluster
        .kubectl_fed(&create, &workspace(bomb, TIMES).to_string())?;
    neighbour.apply(&workspace(plain, 1).to_string())?;
    attacker.wait_code(&format!("workspace/{bomb}"), "E#6016")?;
    attacker.wait_code(&attacker.component(bomb, "web")?, "E#6016")?;
    neighbour.wait_ready(plain)?;
    assert_eq!(deployers(&attacker)?, before);

    // Less of it is taken, and reaches the pods whole.
    let patch = json!([{"op": "replace", "path": "/spec/components/0/template/containers/0/env", "value": env(2)}]);
    attacker.patch(bomb, &patch)?;
    attacker.wait_ready(bomb)?;

    let deployment = attacker
        .component(bomb, "web")?
        .replace("component.se.quencer.io/", "deployment/");
    let value = attacker.field(
        &deployment,
        ".spec.template.spec.containers[0].env[11].value",
    )?;
    assert_eq!(value, "a".repeat(2 * 4096));
    attacker.delete(bomb)?;
    neighbour.delete(plain)
}
