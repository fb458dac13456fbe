//! What a user takes out of a Workspace goes from what was made of it.

use anyhow::{Context as _, Result, ensure};
use lab::parts::name_server::ZONE;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::user::{User, unique};

/// Redis behind an Ingress; `full` says whether it has everything that is taken out later.
fn workspace(name: &str, full: bool) -> Value {
    let mut component = json!({
        "name": "redis",
        "networks": [{"name": "tcp", "port": 6379}],
        "template": {"containers": [{
            "name": "redis", "image": "redis:latest", "ports": [{"containerPort": 6379}],
            "env": [{"name": "KEPT", "value": "1"}],
        }]},
    });
    let mut rules = json!([{"name": "kept", "component": "redis", "network": "tcp"}]);
    let push = |list: &mut Value, more: Value| {
        if let Value::Array(list) = list {
            list.push(more);
        }
    };

    if full {
        component["podMetadata"] =
            json!({"labels": {"team": "a"}, "annotations": {"example.com/note": "a"}});

        push(
            &mut component["networks"],
            json!({"name": "more", "port": 6380, "targetPort": 6379}),
        );
        push(
            &mut component["template"]["containers"][0]["env"],
            json!({"name": "TAKEN_OUT", "value": "1"}),
        );
        push(
            &mut rules,
            json!({"name": "more", "component": "redis", "network": "tcp", "subdomain": "more"}),
        );
    }

    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
        "spec": {
            "components": [component],
            "networking": {"dns": {"zone": ZONE}, "ingress": {"className": "traefik", "rules": rules}},
        },
    })
}

/// Everything that was made of a Workspace, as its user reads it.
fn made(user: &User, name: &str) -> Result<Value> {
    let kinds = "deployments,services,ingresses";
    let selector = format!("se.quencer.io/workspace={name}");
    let list = user.kubectl(&["get", kinds, "-l", &selector, "-o", "json"])?;
    let list: Value = serde_json::from_str(&list)?;

    Ok(list["items"].clone())
}

fn of_kind<'a>(made: &'a Value, kind: &str) -> Vec<&'a Value> {
    made.as_array()
        .into_iter()
        .flatten()
        .filter(|object| object["kind"] == kind)
        .collect()
}

#[test]
fn what_a_user_takes_out_goes_from_every_object() -> Result<()> {
    let user = User::new()?;
    let name = &unique("edited");
    user.apply(&workspace(name, true).to_string())?;
    until("all of it is there", PATIENCE, || {
        let made = made(&user, name)?;
        let text = made.to_string();
        ensure!(
            text.contains("TAKEN_OUT") && text.contains("example.com/note"),
            "{text}"
        );
        ensure!(of_kind(&made, "Service").len() == 2, "{text}");
        let ingress = of_kind(&made, "Ingress");
        let ingress = ingress.first().context("no Ingress")?;
        ensure!(
            ingress["spec"]["rules"].as_array().map(Vec::len) == Some(2),
            "{ingress}"
        );
        Ok(())
    })?;

    user.apply(&workspace(name, false).to_string())?;
    until(
        "what was taken out is gone, and the rest stays",
        PATIENCE,
        || {
            let made = made(&user, name)?;
            let deployments = of_kind(&made, "Deployment");
            let template = &deployments.first().context("no Deployment")?["spec"]["template"];
            let env = &template["spec"]["containers"][0]["env"];
            ensure!(*env == json!([{"name": "KEPT", "value": "1"}]), "{env}");
            let metadata = &template["metadata"];
            ensure!(metadata["labels"]["team"].is_null(), "{metadata}");
            ensure!(
                metadata["annotations"]["example.com/note"].is_null(),
                "{metadata}"
            );

            ensure!(of_kind(&made, "Service").len() == 1, "{made}");
            let ingress = of_kind(&made, "Ingress");
            let rules = &ingress.first().context("no Ingress")?["spec"]["rules"];
            ensure!(rules.as_array().map(Vec::len) == Some(1), "{rules}");
            Ok(())
        },
    )?;

    // One manager applies, so that its own fields are known.
    let managers = made(&user, name)?;
    for deployment in of_kind(&managers, "Deployment") {
        let applied = user.kubectl(&[
            "get",
            "deployment",
            deployment["metadata"]["name"].as_str().context("no name")?,
            "--show-managed-fields",
            "-o",
            "jsonpath={.metadata.managedFields[?(@.operation=='Apply')].manager}",
        ])?;
        assert_eq!(applied, "deployer");
    }
    user.delete(name)
}
