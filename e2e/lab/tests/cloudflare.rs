//! The stand-in for Cloudflare, with its connector as a Deployment.

use anyhow::{Context as _, Result, ensure};
use lab::layout::{CLOUDFLARE_EDGE, text};
use lab::parts::cloudflare::ZONE;
use lab::testing::{Harness, PATIENCE};
use lab::until::until;
use serde_json::{Value, json};

/// Calls the API under its own name, from inside, and returns the whole envelope.
fn call(harness: &Harness, method: &str, path: &str, body: &Value) -> Result<Value> {
    let authority = text(harness.cluster.layout.pki("ca.crt"));
    let header = tempfile::NamedTempFile::new()?;

    std::fs::write(
        header.path(),
        format!("Authorization: Bearer {}", harness.secrets.cloudflare_token),
    )?;

    let bearer = format!("@{}", text(header.path()));
    let url = format!("https://api.cloudflare.com/client/v4{path}");
    let body = body.to_string();
    let mut argv = vec![
        "curl", "-s", "--cacert", &authority, "-X", method, "-H", &bearer, &url,
    ];

    if body != "null" {
        argv.extend(["-H", "Content-Type: application/json", "-d", &body]);
    }

    let answer = harness.cluster.general.run(&argv)?;
    serde_json::from_str(&answer).with_context(|| format!("{method} {path} answered {answer}"))
}

/// The result of a call that must succeed.
fn result(harness: &Harness, method: &str, path: &str, body: &Value) -> Result<Value> {
    let answer = call(harness, method, path, body)?;
    ensure!(
        answer.get("success") == Some(&Value::Bool(true)),
        "{method} {path} answered {answer}"
    );

    answer
        .get("result")
        .cloned()
        .with_context(|| format!("{method} {path} has no result"))
}

/// The status and body of a visit by way of the cluster's DNS.
fn visit(harness: &Harness, scheme: &str, host: &str) -> Result<(String, String)> {
    let found = harness.cluster.general.run(&["dig", "+short", host])?;
    ensure!(
        found.trim() == CLOUDFLARE_EDGE.to_string(),
        "{host} is found at {found:?}"
    );

    let authority = text(harness.cluster.layout.pki("ca.crt"));
    let url = format!("{scheme}://{host}/");
    let answer = harness.cluster.general.run(&[
        "curl",
        "-s",
        "-m",
        "10",
        "--cacert",
        &authority,
        "-w",
        "\n%{http_code}",
        &url,
    ])?;
    let (body, status) = answer.rsplit_once('\n').context("no status")?;
    Ok((status.to_owned(), body.trim().to_owned()))
}

fn wait_visit(harness: &Harness, scheme: &str, host: &str, status: &str) -> Result<String> {
    until(
        &format!("{scheme}://{host} answers {status}"),
        PATIENCE,
        || {
            let (found, body) = visit(harness, scheme, host)?;
            ensure!(found == status, "it answers {found}: {body}");
            Ok(body)
        },
    )
}

/// The connector as a Deployment that reads its token from a file.
fn connector() -> (Value, Value) {
    let container = json!({
        "image": "cloudflare/cloudflared:latest",
        "args": ["tunnel", "--no-autoupdate", "--metrics", "0.0.0.0:20241", "run", "--token-file", "/token/token"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 20241}, "periodSeconds": 1},
        "volumeMounts": [{"name": "token", "mountPath": "/token", "readOnly": true}],
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true, "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    (
        container,
        json!({"volumes": [{"name": "token", "secret": {"secretName": "tunnel"}}]}),
    )
}

#[test]
fn a_tunnel_serves_the_application_while_its_connector_lives() -> Result<()> {
    let harness = Harness::new("tunnel")?;
    harness.deploy_click()?;

    let tunnels = format!(
        "/accounts/{}/cfd_tunnel",
        harness.secrets.cloudflare_account
    );
    let tunnel = result(
        &harness,
        "POST",
        &tunnels,
        &json!({"name": harness.namespace, "config_src": "cloudflare"}),
    )?;
    let id = tunnel["id"].as_str().context("a tunnel without an id")?;
    let token = result(
        &harness,
        "GET",
        &format!("{tunnels}/{id}/token"),
        &Value::Null,
    )?;
    let host = format!("{}.{ZONE}", harness.namespace);
    let service = format!("http://click.{}.svc.cluster.local:3000", harness.namespace);
    let ingress = json!({"config": {"ingress": [{"hostname": host, "service": service}, {"service": "http_status:404"}]}});
    result(
        &harness,
        "PUT",
        &format!("{tunnels}/{id}/configurations"),
        &ingress,
    )?;
    harness.secret("tunnel", "Opaque", &json!({"token": token}))?;
    let (container, pod) = connector();
    harness.deploy("connector", &container, &pod, &[])?;
    harness.wait_rolled_out("connector")?;

    let zones = result(
        &harness,
        "GET",
        &format!("/zones?name={ZONE}"),
        &Value::Null,
    )?;
    let records = format!(
        "/zones/{}/dns_records",
        zones[0]["id"].as_str().context("the zone is not listed")?
    );
    let record = json!({"type": "CNAME", "name": host, "content": format!("{id}.cfargotunnel.com"), "proxied": true, "ttl": 1});
    let record = result(&harness, "POST", &records, &record)?;
    let clicks = |scheme: &str| -> Result<Value> {
        Ok(serde_json::from_str(&wait_visit(
            &harness, scheme, &host, "200",
        )?)?)
    };
    let (first, second) = (clicks("http")?, clicks("https")?);
    for counter in ["mysql", "redis"] {
        ensure!(
            second[counter].as_u64() > first[counter].as_u64(),
            "{second} after {first}"
        );
    }

    // What lives is not deleted.
    let refused = call(&harness, "DELETE", &format!("{tunnels}/{id}"), &Value::Null)?;
    assert_eq!(
        (&refused["success"], &refused["errors"][0]["code"]),
        (&json!(false), &json!(1022)),
        "{refused}"
    );

    harness.kubectl(&["scale", "deployment/connector", "--replicas=0"])?;
    let body = wait_visit(&harness, "https", &host, "530")?;
    ensure!(body.contains("error code: 1033"), "{body}");
    until("the tunnel can be deleted", PATIENCE, || {
        result(&harness, "DELETE", &format!("{tunnels}/{id}"), &Value::Null)
    })?;
    result(
        &harness,
        "DELETE",
        &format!(
            "{records}/{}",
            record["id"].as_str().context("a record without an id")?
        ),
        &Value::Null,
    )?;
    assert_eq!(harness.cluster.general.run(&["dig", "+short", &host])?, "");
    Ok(())
}

#[test]
fn the_api_refuses_another_token() -> Result<()> {
    let mut harness = Harness::new("token")?;
    harness.secrets.cloudflare_token = "0123456789012345678901234567890123456789".to_owned();
    let answer = call(&harness, "GET", "/user/tokens/verify", &Value::Null)?;
    assert_eq!(answer["success"], json!(false), "{answer}");
    Ok(())
}
