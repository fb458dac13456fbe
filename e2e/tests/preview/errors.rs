//! What goes wrong says so, and heals when its cause does.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::walk::Walk;

#[test]
fn a_branch_that_does_not_exist_is_e1012_until_it_does() -> Result<()> {
    let walk = Walk::new()?;
    let name = "later";
    walk.apply(&walk.preview(name, "not-yet-there", "dockerhub-credentials").to_string())?;
    walk.wait_code(&format!("workspace/{name}"), "E#1012")?;
    walk.wait_code(&walk.component(name, "app")?, "E#1012")?;
    assert_eq!(walk.ready(&format!("workspace/{name}"), "reason")?, "Error");
    walk.push("not-yet-there", "note", "there")?;
    walk.wait_ready(name)?;
    walk.delete(name)
}

#[test]
fn a_wrong_password_is_refused_until_the_secret_changes() -> Result<()> {
    let walk = Walk::new()?;
    let name = "password";
    let secret = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-login"}, "type": "kubernetes.io/basic-auth",
            "stringData": {"username": "myuser", "password": password},
        })
        .to_string()
    };
    walk.apply(&secret("wrong"))?;
    walk.push(name, "note", "one")?;
    walk.apply(&walk.preview(name, name, "other-login").to_string())?;
    let message = walk.wait_code(&format!("workspace/{name}"), "E#1020")?;
    ensure!(!message.contains("wrong\""), "{message}");
    walk.apply(&secret(&walk.secrets.hub_password))?;
    walk.wait_ready(name)?;
    walk.delete(name)
}

#[test]
fn a_component_that_crashes_shows_its_last_lines_and_disturbs_nobody() -> Result<()> {
    let walk = Walk::new()?;
    let name = "crash";
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
    ensure!(failure.contains("the last words") && failure.contains("\"exitCode\":3"), "{failure}");
    assert_eq!(walk.ready(&walk.component(name, "good")?, "status")?, "True");
    walk.apply(&workspace("exec sleep 1000"))?;
    walk.wait_ready(name)?;
    walk.delete(name)
}
