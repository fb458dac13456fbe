//! The sample's application with its two databases, made by hand.

use anyhow::{Context as _, Result, ensure};
use e2e::testing::{PATIENCE, Scene};
use e2e::until::until;
use serde_json::{Value, json};

fn ready_at(port: u16) -> Value {
    json!({"tcpSocket": {"port": port}, "periodSeconds": 1})
}

/// Runs the application's source on its base image; the build of its image is another test.
fn deploy(scene: &Scene) -> Result<()> {
    let source = scene.cluster.layout.repository.join("e2e/apps/click/click.py");
    scene.kubectl(&["create", "configmap", "source", &format!("--from-file=__main__.py={}", source.display())])?;
    scene.deploy("redis", &json!({"image": "redis:latest", "readinessProbe": ready_at(6379)}), &json!({}), &[6379])?;
    let variables = json!([
        {"name": "MYSQL_RANDOM_ROOT_PASSWORD", "value": "true"}, {"name": "MYSQL_PASSWORD", "value": "it's a \\ password"},
        {"name": "MYSQL_USER", "value": "theuser"}, {"name": "MYSQL_DATABASE", "value": "mydb"},
        {"name": "DB_HOST", "value": "mysql"}, {"name": "REDIS_HOST", "value": "redis"},
    ]);
    let mysql = json!({"image": "mysql:latest", "env": variables, "readinessProbe": ready_at(3306)});
    scene.deploy("mysql", &mysql, &json!({}), &[3306])?;
    let click = json!({
        "image": "app-base:bookworm", "env": variables, "command": ["python3", "/source", "start"],
        "volumeMounts": [{"name": "source", "mountPath": "/source"}], "readinessProbe": ready_at(3000),
    });
    scene.deploy(
        "click",
        &click,
        &json!({"volumes": [{"name": "source", "configMap": {"name": "source"}}]}),
        &[3000],
    )?;
    ["redis", "mysql", "click"].iter().try_for_each(|name| scene.wait_rolled_out(name))
}

/// One click: the status and the answer.
fn click(scene: &Scene) -> Result<(u64, Value)> {
    let address = scene.field("service/click", ".spec.clusterIP")?;
    let answer =
        scene.cluster.general.run(&["curl", "-s", "-w", " %{http_code}", &format!("http://{address}:3000/")])?;
    let (body, status) = answer.rsplit_once(' ').with_context(|| answer.clone())?;
    Ok((status.parse()?, serde_json::from_str(body).unwrap_or_default()))
}

fn wait_status(scene: &Scene, status: u64) -> Result<Value> {
    until(&format!("the application answers {status}"), PATIENCE, || {
        let (found, answer) = click(scene)?;
        ensure!(found == status, "it answers {found}: {answer}");
        Ok(answer)
    })
}

#[test]
fn clicks_are_counted_and_survive_the_loss_of_a_database_and_of_a_pod() -> Result<()> {
    let scene = Scene::new("click")?;
    deploy(&scene)?;
    let first = wait_status(&scene, 200)?;
    let second = wait_status(&scene, 200)?;
    for counter in ["mysql", "redis"] {
        assert_eq!(second[counter].as_u64(), first[counter].as_u64().map(|number| number + 1), "{counter}");
    }
    ensure!(second["commit"].is_string(), "no commit in {second}");

    for database in ["redis", "mysql"] {
        let deployment = format!("deployment/{database}");
        scene.kubectl(&["scale", &deployment, "--replicas=0"])?;
        wait_status(&scene, 503)?;
        scene.kubectl(&["scale", &deployment, "--replicas=1"])?;
        wait_status(&scene, 200)?;
    }

    let pod = scene.field("pods", ".items[?(@.metadata.labels.app=='click')].metadata.uid")?;
    scene.kubectl(&["delete", "pod", "-l", "app=click", "--grace-period=0", "--force"])?;
    until("another pod takes its place", PATIENCE, || {
        let ready = scene.field("deployment/click", ".status.readyReplicas")?;
        let pods = scene.field("pods", ".items[?(@.metadata.labels.app=='click')].metadata.uid")?;
        ensure!(ready == "1" && pods != pod && !pods.contains(' '), "{ready} ready, pods {pods}");
        Ok(())
    })?;
    wait_status(&scene, 200).map(drop)
}
