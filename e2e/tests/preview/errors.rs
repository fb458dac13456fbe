//! What goes wrong says so, and heals when its cause does.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::manifest::preview;
use crate::user::{User, unique};

#[test]
fn a_branch_that_does_not_exist_is_e1012_until_it_does() -> Result<()> {
    let user = User::new()?;
    let name = &unique("later");
    user.apply(&preview(name, name, "dockerhub-credentials").to_string())?;
    user.wait_code(&format!("workspace/{name}"), "E#1012")?;
    user.wait_code(&user.component(name, "app")?, "E#1012")?;
    assert_eq!(
        user.ready(&format!("workspace/{name}"), "reason")?,
        "CommitNotFound"
    );
    user.push(name, "note", name)?;
    user.wait_ready(name)?;
    user.delete(name)
}

#[test]
fn a_wrong_password_is_refused_until_the_secret_changes() -> Result<()> {
    let user = User::new()?;
    let name = &unique("password");
    let secret = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-login"}, "type": "kubernetes.io/basic-auth",
            "stringData": {"username": "myuser", "password": password},
        })
        .to_string()
    };
    user.apply(&secret("wrong"))?;
    user.push(name, "note", name)?;
    user.apply(&preview(name, name, "other-login").to_string())?;
    let message = user.wait_code(&format!("workspace/{name}"), "E#1020")?;
    ensure!(!message.contains("wrong\""), "{message}");
    user.apply(&secret(&user.secrets.hub_password))?;
    user.wait_ready(name)?;
    user.delete(name)
}

#[test]
fn a_component_that_crashes_shows_its_last_lines_and_disturbs_nobody() -> Result<()> {
    let user = User::new()?;
    let name = &unique("crash");
    let component = |name: &str, script: &str| json!({"name": name, "template": {"containers": [{"name": name, "image": "app-base:bookworm", "command": ["sh", "-c", script]}]}});
    let workspace = |script: &str| {
        json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {"components": [component("good", "exec sleep 1000"), component("bad", script)]},
        })
        .to_string()
    };

    user.apply(&workspace("echo the last words; exit 3"))?;
    user.wait_code(&format!("workspace/{name}"), "E#2005")?;
    let failure = user.field(&user.component(name, "bad")?, ".status.deploy.failure")?;
    ensure!(
        failure.contains("the last words") && failure.contains("\"exitCode\":3"),
        "{failure}"
    );

    let good = user.component(name, "good")?;
    user.kubectl(&["wait", &good, "--for=condition=Ready", "--timeout=60s"])?;
    user.apply(&workspace("exec sleep 1000"))?;
    user.wait_ready(name)?;
    user.delete(name)
}
