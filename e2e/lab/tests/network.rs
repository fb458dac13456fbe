//! Pods, Services, DNS, ingress and the kubelet's own services.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::layout::{GENERAL, text};
use lab::testing::{Harness, PATIENCE};
use lab::until::until;
use serde_json::json;

const PAGE: &str = "a page of a pod";

/// The fields of a pod that runs on this node and nowhere else.
fn on(node: &str) -> serde_json::Value {
    json!({
        "nodeSelector": {"kubernetes.io/hostname": node},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
    })
}

fn fetch(url: &str) -> String {
    format!(
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}\", timeout=5).read().decode().strip())'"
    )
}

#[test]
fn a_service_answers_by_address_and_by_name_from_the_other_node() -> Result<()> {
    let harness = Harness::new("service")?;
    harness.deploy_page("general", PAGE, &on("general"))?;
    harness.deploy_page("builds", PAGE, &on("builds"))?;
    for (from, to) in [
        ("general", "builds"),
        ("builds", "general"),
        ("general", "general"),
    ] {
        let address = harness.field(&format!("service/{to}"), ".spec.clusterIP")?;
        let name = format!("{to}.{}.svc.cluster.local", harness.namespace);
        for host in [address, to.to_owned(), name] {
            let answer = until("the Service answers", PATIENCE, || {
                harness.exec(from, &fetch(&format!("http://{host}:8080/")))
            })?;
            assert_eq!(answer.trim(), PAGE, "from {from} to {host}");
        }
    }

    // What runs outside the cluster is found by its own name.
    let git = harness.exec("builds", "getent hosts github.com")?;
    ensure!(git.starts_with("198.18.0.13 "), "github.com is {git}");
    Ok(())
}

#[test]
fn an_ingress_answers_by_host_over_http_and_https() -> Result<()> {
    let harness = Harness::new("ingress")?;
    harness.deploy_page("web", PAGE, &on("general"))?;
    let host = format!("{}.preview.test", harness.namespace);
    harness.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 8080}}}},
        ]}}]},
    }))?;
    for scheme in ["http", "https"] {
        let answer = until("the ingress serves the page", PATIENCE, || {
            harness.curl_ingress(scheme, &host, "/")
        })?;
        assert_eq!(answer.trim(), PAGE);
    }
    harness.wait_field(
        "ingress/web",
        ".status.loadBalancer.ingress[0].ip",
        &GENERAL.to_string(),
    )?;
    ensure!(
        harness
            .curl_ingress("http", "other.preview.test", "/")
            .is_err(),
        "a host without an ingress was served"
    );
    Ok(())
}

#[test]
fn logs_exec_and_port_forward_work_on_both_nodes() -> Result<()> {
    let harness = Harness::new("kubelet")?;

    for node in ["general", "builds"] {
        harness.deploy_page(node, PAGE, &on(node))?;
        assert_eq!(
            harness.exec(node, "hostname")?.trim(),
            harness.field(
                "pods",
                &format!(".items[?(@.metadata.labels.app=='{node}')].metadata.name")
            )?
        );
        harness.exec(node, &fetch("http://localhost:8080/"))?;
        let logs = harness.kubectl(&["logs", &format!("deployment/{node}")])?;
        ensure!(
            logs.contains("\"GET / HTTP/1.1\" 200"),
            "the logs are {logs}"
        );

        let mut forward = Command::new(harness.cluster.layout.bin("kubectl"))
            .args([
                "--kubeconfig",
                &text(harness.cluster.layout.kubeconfig()),
                "-n",
                &harness.namespace,
            ])
            .args(["port-forward", &format!("deployment/{node}"), ":8080"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        // Kept open: kubectl tells about each connection, and ends when nobody listens.
        let mut said = BufReader::new(forward.stdout.take().context("no stdout")?);
        said.read_line(&mut line)?;

        let port = line
            .split(':')
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .with_context(|| line.clone())?;
        let answer = Command::new("curl")
            .args(["-s", "--noproxy", "*", &format!("http://127.0.0.1:{port}/")])
            .output()?;

        forward.kill()?;
        forward.wait()?;
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), PAGE);
    }

    Ok(())
}

#[test]
fn a_pod_over_its_memory_limit_is_killed() -> Result<()> {
    let harness = Harness::new("memory")?;
    harness.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy"},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "greedy", "image": "app-base:bookworm",
            "command": ["python3", "-c", "b = bytearray(256 << 20)"],
            "resources": {"limits": {"memory": "64Mi"}},
        }]},
    }))?;
    harness.wait_field(
        "pod/greedy",
        ".status.containerStatuses[0].state.terminated.reason",
        "OOMKilled",
    )
}

#[test]
fn a_pod_pulls_from_the_company_registry_only_with_a_pull_secret() -> Result<()> {
    let harness = Harness::new("pull")?;
    let layout = &harness.cluster.layout;
    let login = harness.log_in_to_registry()?;
    let image = format!("registry.test/{}/pause:latest", harness.namespace);
    let config = tempfile::tempdir()?;
    std::fs::write(config.path().join("config.json"), login)?;
    let crane = text(layout.bin("crane"));
    let copy = harness
        .cluster
        .general
        .command(&[
            &crane,
            "copy",
            "registry-1.docker.io/library/pause:latest",
            &image,
        ])?
        .env("DOCKER_CONFIG", config.path())
        .output()?;

    ensure!(
        copy.status.success(),
        "{}",
        String::from_utf8_lossy(&copy.stderr)
    );

    let pod = |name: &str, secrets: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"imagePullSecrets": secrets, "terminationGracePeriodSeconds": 0, "containers": [{"name": "pause", "image": image, "imagePullPolicy": "Always"}]},
        })
    };

    harness.apply(&pod("with", json!([{"name": "company"}])))?;
    harness.apply(&pod("without", json!([])))?;
    harness.wait_field("pod/with", ".status.phase", "Running")?;
    until("the pull is refused", PATIENCE, || {
        let message = harness.field(
            "pod/without",
            ".status.containerStatuses[0].state.waiting.message",
        )?;

        ensure!(
            message.contains("no basic auth credentials") || message.contains("401"),
            "it waits: {message}"
        );
        Ok(())
    })
}
