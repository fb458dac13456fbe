//! No value of a Secret is anywhere but in Secrets.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use lab::layout::text;
use lab::parts::traces;
use lab::release::{BUILDS, NAMESPACE, TENANTS};
use serde_json::Value;

use crate::user::{User, unique};

/// Shorter values are no secrets that a search could find.
const LONG: usize = 12;
/// Keys of Secrets whose values are no secrets.
const PUBLIC: [&str; 5] = ["ca.crt", "tls.crt", "known_hosts", "username", "config.yml"];

/// What to look for: every value, also encoded, and each half of it.
fn needles(user: &User) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for namespace in [
        NAMESPACE,
        BUILDS,
        "sequencer-tunnels",
        "default",
        TENANTS[0],
    ] {
        let kind = "type!=helm.sh/release.v1";
        let list = user.cluster.kubectl(&[
            "-n",
            namespace,
            "get",
            "secrets",
            "--field-selector",
            kind,
            "-o",
            "json",
        ])?;
        let list: Value = serde_json::from_str(&list)?;
        for secret in list["items"].as_array().context("no list")? {
            let values = secret["data"].as_object().into_iter().flatten();
            for (_, value) in values.filter(|(key, _)| !PUBLIC.contains(&key.as_str())) {
                let value = String::from_utf8_lossy(
                    &BASE64.decode(value.as_str().unwrap_or_default().as_bytes())?,
                )
                .into_owned();
                found.extend(
                    parts(value.trim())
                        .into_iter()
                        .flat_map(|part| forms(&part)),
                );
            }
        }
    }
    Ok(found)
}

/// The secrets in a value: itself, the lines of a key, the words of JSON.
fn parts(value: &str) -> Vec<String> {
    if let Ok(json) = serde_json::from_str::<Value>(value) {
        let mut words = Vec::new();
        leaves(&json, &mut words);
        return words;
    }

    let lines = value.lines().filter(|line| !line.contains("-----"));
    lines
        .filter(|line| line.len() >= LONG)
        .map(ToOwned::to_owned)
        .collect()
}

fn leaves(json: &Value, words: &mut Vec<String>) {
    match json {
        Value::String(word) if word.len() >= LONG => words.push(word.clone()),
        Value::Array(list) => list.iter().for_each(|value| leaves(value, words)),
        Value::Object(fields) => {
            fields
                .iter()
                .filter(|(key, _)| *key != "username")
                .for_each(|(_, value)| leaves(value, words));
        }
        _ => {}
    }
}

fn forms(secret: &str) -> Vec<String> {
    let (first, second) = secret.split_at(secret.floor_char_boundary(secret.len() / 2));
    let escaped = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };

    let mut forms = vec![
        secret.to_owned(),
        BASE64.encode(secret.as_bytes()),
        secret.bytes().map(escaped).collect(),
    ];
    forms.extend(
        [first, second]
            .into_iter()
            .filter(|half| half.len() >= LONG)
            .map(ToOwned::to_owned),
    );
    forms
}

/// Writes down what the cluster shows to those who may look: objects, arguments and environments of
/// processes, metrics.
fn look(user: &User, folder: &Path) -> Result<()> {
    let objects = [
        "workspaces,components,builds,dnsrecords",
        "events.events.k8s.io",
        "pods,deployments,statefulsets,replicasets,jobs,services,ingresses,configmaps",
    ];
    for (number, kinds) in objects.iter().enumerate() {
        let all = user.cluster.kubectl(&[
            "get",
            kinds,
            "--all-namespaces",
            "-o",
            "yaml",
            "--show-managed-fields",
        ])?;
        std::fs::write(folder.join(format!("objects-{number}")), all)?;
    }

    let script = "cd /proc; for pid in [0-9]*; do grep -qs kubepods $pid/cgroup && cat $pid/cmdline $pid/environ; done; true";
    std::fs::write(
        folder.join("processes"),
        user.cluster.general.run(&["sh", "-c", script])?,
    )?;

    let selector = "se.quencer.io/part in (watcher,builder,registry-pusher,network,deployer)";
    let path = "jsonpath={.items[*].status.podIP}";
    let pods = user.cluster.kubectl(&[
        "get",
        "pods",
        "--all-namespaces",
        "-l",
        selector,
        "-o",
        path,
    ])?;
    for pod in pods.split(' ') {
        let metrics = user.cluster.general.run(&[
            "curl",
            "-sS",
            "--fail",
            &format!("http://{pod}:8080/metrics"),
        ])?;
        std::fs::write(folder.join(format!("metrics-{pod}")), metrics)?;
    }

    Ok(())
}

/// The files that hold one of the needles.
fn search(needles: &Path, places: &[String]) -> Result<Vec<String>> {
    let mut grep = Command::new("grep");
    grep.args([
        "--recursive",
        "--text",
        "--no-messages",
        "--files-with-matches",
        "--fixed-strings",
        "--file",
    ]);

    let found = grep.arg(needles).args(places).env("LC_ALL", "C").output()?;
    Ok(String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(ToOwned::to_owned)
        .collect())
}

#[test]
fn no_secret_is_in_logs_events_objects_messages_processes_metrics_or_traces() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    user.install_with("telemetry: {", "telemetry: {logLevel: trace, ")?;
    let name = &unique("canary");
    user.push(name, "note", name)?;
    user.apply_with_tunnel(name)?;
    user.wait_ready(name)?;

    let folder = tempfile::tempdir()?;
    let needles = needles(&user)?;
    for known in [
        &user.secrets.hub_password,
        &user.secrets.cloudflare_token,
        &user.secrets.tsig,
    ] {
        ensure!(
            needles.contains(known),
            "a secret of this cluster is not looked for"
        );
    }
    let list = tempfile::NamedTempFile::new()?;
    for needle in &needles {
        writeln!(File::options().append(true).open(list.path())?, "{needle}")?;
    }
    // One that is planted shows that the search finds.
    let planted = folder.path().join("planted");
    std::fs::write(
        &planted,
        BASE64.encode(user.secrets.cloudflare_token.as_bytes()),
    )?;
    look(&user, folder.path())?;
    let layout = &user.cluster.layout;
    let mut places = vec![
        text(folder.path()),
        text(layout.logs()),
        text(traces::file(layout)),
    ];
    for node in ["general", "builds"] {
        places.push(text(layout.data(node).join("var-log")));
        // NATS' store, staged images, mirrors and caches: whatever a pod wrote.
        let pods = layout.data(node).join("kubelet/pods");
        for pod in
            std::fs::read_dir(&pods).with_context(|| format!("cannot read {}", pods.display()))?
        {
            places.push(text(pod?.path().join("volumes/kubernetes.io~empty-dir")));
        }
    }
    let found = search(list.path(), &places)?;
    assert_eq!(found, [text(&planted)]);
    user.delete(name)?;
    user.cluster.install_chart(&user.cluster.installed_values())
}
