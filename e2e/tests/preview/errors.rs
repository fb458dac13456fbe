//! What goes wrong says so, and heals when its cause does.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::manifest::preview;
use crate::walk::{Walk, unique};

#[test]
fn a_branch_that_does_not_exist_is_e1012_until_it_does() -> Result<()> {
    let walk = Walk::new()?;
    let name = &unique("later");
    walk.apply(&preview(name, name, "dockerhub-credentials").to_string())?;
    walk.wait_code(&format!("workspace/{name}"), "E#1012")?;
    walk.wait_code(&walk.component(name, "app")?, "E#1012")?;
    assert_eq!(
        walk.ready(&format!("workspace/{name}"), "reason")?,
        "CommitNotFound"
    );
    walk.push(name, "note", name)?;
    walk.wait_ready(name)?;
    walk.delete(name)
}

#[test]
fn a_wrong_password_is_refused_until_the_secret_changes() -> Result<()> {
    let walk = Walk::new()?;
    let name = &unique("password");
    let secret = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-login"}, "type": "kubernetes.io/basic-auth",
            "stringData": {"username": "myuser", "password": password},
        })
        .to_string()
    };
    walk.apply(&secret("wrong"))?;
    walk.push(name, "note", name)?;
    walk.apply(&preview(name, name, "other-login").to_string())?;
    let message = walk.wait_code(&format!("workspace/{name}"), "E#1020")?;
    ensure!(!message.contains("wrong\""), "{message}");
    walk.apply(&secret(&walk.secrets.hub_password))?;
    walk.wait_ready(name)?;
    walk.delete(name)
}

#[test]
fn a_component_that_crashes_shows_its_last_lines_and_disturbs_nobody() -> Result<()> {
    let walk = Walk::new()?;
    let name = &unique("crash");
    let component = |name: &str, script: &str| json!({"name": name, "template": {"containers": [{"name": name, "image": "app-base:bookworm", "command": ["sh", "-c", script]}]}});
    let workspace = |script: &str| {
        json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {"components": [component("good", "exec sleep 1000"), component("bad", script)]},
        })
        .to_string()
    };
    walk.apply(&workspace("echo the last words; exit 3"))?;
    walk.wait_code(&format!("workspace/{name}"), "E#2005")?;
    let failure = walk.field(&walk.component(name, "bad")?, ".status.deploy.failure")?;
    ensure!(
        failure.contains("the last words") && failure.contains("\"exitCode\":3"),
        "{failure}"
    );
    let good = walk.component(name, "good")?;
    walk.kubectl(&["wait", &good, "--for=condition=Ready", "--timeout=60s"])?;
    walk.apply(&workspace("exec sleep 1000"))?;
    walk.wait_ready(name)?;
    walk.delete(name)
}
