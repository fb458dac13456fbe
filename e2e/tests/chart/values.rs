//! Values: what the schema refuses, and that everything it takes has an effect.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_yaml::Value;

use super::{chart, objects, template, word};

/// Wrong values, and the field that the answer has to name.
const BAD: &[(&str, &str)] = &[
    ("nonsense: 1", "nonsense"),
    ("watcher: {}", "watcher"),
    ("image: {tags: a}", "/image"),
    ("image: {repository: ''}", "/image/repository"),
    ("replicas: {watcher: 0}", "/replicas/watcher"),
    ("replicas: {deployer: 2}", "/replicas"),
    ("tenants: {namespaces: [Team]}", "/tenants/namespaces/0"),
    ("tenants: {namespaces: [a, a]}", "/tenants/namespaces"),
    ("tenants: team-a", "/tenants"),
    (
        "secretGrants: [{namespace: default, names: []}]",
        "/secretGrants/0/names",
    ),
    ("secretGrants: [{namespace: default}]", "/secretGrants/0"),
    (
        "secretGrants: [{namespace: default, names: [a], to: [b]}]",
        "/secretGrants/0",
    ),
    ("workspaces: {podSecurity: none}", "/workspaces/podSecurity"),
    (
        "workspaces: {sharedClaims: [models]}",
        "/workspaces/sharedClaims/0",
    ),
    (
        "workspaces: {sharedClaims: [{name: models}]}",
        "/workspaces/sharedClaims/0",
    ),
    (
        "workspaces: {sharedClaims: [{namespace: '*', name: models}]}",
        "/workspaces/sharedClaims/0/namespace",
    ),
    (
        "workspaces: {sharedClaims: [{namespace: a, name: b, readonly: true}]}",
        "/workspaces/sharedClaims/0",
    ),
    ("workspaces: {ttl: 7d}", "/workspaces/ttl"),
    (
        "workspaces: {inheritLabels: [se.quencer.io/part]}",
        "/workspaces/inheritLabels/0",
    ),
    (
        "workspaces: {inheritLabels: [team, app.kubernetes.io/name]}",
        "/workspaces/inheritLabels/1",
    ),
    (
        "workspaces: {inheritLabels: ['']}",
        "/workspaces/inheritLabels/0",
    ),
    ("workspaces: {maxTtl: ''}", "/workspaces/maxTtl"),
    (
        "workspaces: {quotas: {workspacesPerNamespace: -1}}",
        "/workspaces/quotas/workspacesPerNamespace",
    ),
    (
        "workspaces: {quotas: {buildsPerNamespace: '4'}}",
        "/workspaces/quotas/buildsPerNamespace",
    ),
    (
        "workspaces: {quotas: {requestsPerWorkspace: {cpu: 4}}}",
        "/workspaces/quotas",
    ),
    (
        "workspaces: {networkPolicy: {enabled: 'yes'}}",
        "/workspaces/networkPolicy/enabled",
    ),
    ("builder: {replicas: -1}", "/builder/replicas"),
    ("builder: {maxTimeout: 1d}", "/builder/maxTimeout"),
    ("builder: {lookups: 0}", "/builder/lookups"),
    ("publishing: {timeout: 30}", "/publishing/timeout"),
    ("builder: {pools: [{replicas: 1}]}", "/builder/pools/0"),
    ("builder: {pools: [{name: Large}]}", "/builder/pools/0/name"),
    ("builder: {pools: [{name: a, gpus: 1}]}", "/builder/pools/0"),
    (
        "builder: {pools: [{name: a, cache: {size: fifty}}]}",
        "/builder/pools/0/cache/size",
    ),
    (
        "builder: {pools: [{name: a, concurrency: 0}]}",
        "/builder/pools/0/concurrency",
    ),
    (
        "builder: {pools: [{name: a, concurrency: 2}]}",
        "/builder/pools/0/concurrency",
    ),
    (
        "builder: {pools: [{name: a, concurrency: 2, sharedProcesses: false}]}",
        "/builder/pools/0/concurrency",
    ),
    (
        "builder: {pools: [{name: a, namespaces: []}]}",
        "/builder/pools/0/namespaces",
    ),
    (
        "builder: {pools: [{name: a, namespaces: ['a,b']}]}",
        "/builder/pools/0/namespaces/0",
    ),
    ("git: {hosts: [{host: github.com}]}", "/git/hosts/0"),
    (
        "git: {hosts: [{host: github.com, knownHosts: a, caSecret: b}]}",
        "/git/hosts/0",
    ),
    ("staging: {url: 'http://a:5000'}", "/staging/url"),
    ("staging: {enabled: false}", "/staging/url"),
    (
        "staging: {enabled: false, url: 'https://user:password@a'}",
        "/staging/url",
    ),
    (
        "staging: {persistence: {size: 1 GB}}",
        "/staging/persistence/size",
    ),
    ("dockerCache: {secretName: A}", "/dockerCache/secretName"),
    ("dns: {ttl: 0}", "/dns/ttl"),
    (
        "dns: {providers: [{name: a, zones: [b.c]}]}",
        "/dns/providers/0",
    ),
    (
        "dns: {providers: [{name: a, zones: [], wildcard: {}}]}",
        "/dns/providers/0/zones",
    ),
    (
        "dns: {providers: [{name: a, zones: [b.c], wildcard: {}, cloudflare: {}}]}",
        "/dns/providers/0",
    ),
    (
        "dns: {providers: [{name: a, zones: [b.c], route53: {}}]}",
        "/dns/providers/0",
    ),
    (
        "dns: {providers: [{name: a, zones: [b.c], cloudflare: {apiToken: secret}}]}",
        "/dns/providers/0/cloudflare",
    ),
    ("clusterId: My-Cluster", "/clusterId"),
    ("clusterId: '0123456789abc'", "/clusterId"),
    (
        "tunnels: {cloudflare: {mode: shared}}",
        "/tunnels/cloudflare",
    ),
    (
        "tunnels: {cloudflare: {replicas: 0}}",
        "/tunnels/cloudflare/replicas",
    ),
    (
        "tunnels: {cloudflare: {image: ''}}",
        "/tunnels/cloudflare/image",
    ),
    (
        "ingress: {tls: {issuerRef: {name: a}}}",
        "/ingress/tls/issuerRef",
    ),
    (
        "ingress: {tls: {secretName: a, issuerRef: {kind: Issuer, name: a}}}",
        "/ingress/tls",
    ),
    ("periods: {claim: 120}", "/periods/claim"),
    ("periods: {poll: 5s}", "/periods"),
    (
        "egress: {allowedCIDRs: [10.0.0.1]}",
        "/egress/allowedCIDRs/0",
    ),
    (
        "caBundle: {configMapName: Bundle}",
        "/caBundle/configMapName",
    ),
    ("nats: {url: 'tls://a:4222'}", "/nats/url"),
    (
        "nats: {enabled: false, url: 'tls://a:4222'}",
        "/nats/tls/existingSecret",
    ),
    (
        "nats: {enabled: false, url: 'nats://a:4222', tls: {existingSecret: a}}",
        "/nats/url",
    ),
    ("telemetry: {serviceMonitor: true}", "/telemetry"),
];

#[test]
fn bad_values_are_refused_where_they_are_bad() -> Result<()> {
    for (values, field) in BAD {
        let (taken, said) = template(values)?;
        ensure!(!taken, "{values} was taken");
        ensure!(said.contains(field), "{values}: {said}");
    }
    Ok(())
}

#[test]
fn without_a_cluster_the_id_has_to_be_set() -> Result<()> {
    let (taken, said) = template("clusterId: ''")?;
    ensure!(!taken && said.contains("clusterId"), "{said}");
    Ok(())
}

/// The paths of a tree's leaves in their order; an empty mapping is one.
fn leaves(tree: &Value, at: &str) -> Vec<String> {
    match tree.as_mapping().filter(|mapping| !mapping.is_empty()) {
        None => vec![at.to_owned()],
        Some(mapping) => {
            let path = |key: &Value| format!("{at}/{}", key.as_str().unwrap_or_default());
            mapping
                .iter()
                .flat_map(|(key, value)| leaves(value, &path(key)))
                .collect()
        }
    }
}

/// The same of a schema's properties.
fn declared(schema: &Value, at: &str) -> Vec<String> {
    let reference = super::at(schema, &["$ref"]).as_str();
    let inner = super::at(schema, &["properties"]).as_mapping();
    match inner {
        _ if reference == Some("#/definitions/persistence") => vec![format!("{at}/size")],
        Some(properties) => properties
            .iter()
            .flat_map(|(key, value)| {
                declared(value, &format!("{at}/{}", key.as_str().unwrap_or_default()))
            })
            .collect(),
        None => vec![at.to_owned()],
    }
}

/// What is rendered, but for Secrets, which are new each time.
fn rendered(values: &str) -> Result<Vec<Value>> {
    Ok(objects(values)?
        .into_iter()
        .filter(|object| word(object, &["kind"]) != "Secret")
        .collect())
}

#[test]
fn the_schema_and_the_file_of_values_name_the_same_values_and_each_has_an_effect() -> Result<()> {
    let read = |file: &str| -> Result<Value> {
        Ok(serde_yaml::from_str(&std::fs::read_to_string(
            chart()?.join(file),
        )?)?)
    };

    // What holds objects of Kubernetes' own is one value.
    let whole = |path: String| match path.find("/resources").or_else(|| path.find("/issuerRef")) {
        Some(_) => path
            .split_inclusive('/')
            .take(if path.contains("issuerRef") { 4 } else { 3 })
            .collect::<String>(),
        None => path,
    };

    let whole = |path: String| whole(path).trim_end_matches('/').to_owned();
    let values: BTreeSet<_> = leaves(&read("values.yaml")?, "")
        .into_iter()
        .map(whole)
        .collect();
    let schema: BTreeSet<_> = declared(&read("values.schema.json")?, "")
        .into_iter()
        .map(whole)
        .collect();
    assert_eq!(values, schema);

    let others: Vec<Value> = serde_yaml::from_str(include_str!("other-values.yaml"))?;
    let changed: BTreeSet<_> = others
        .iter()
        .filter_map(|other| leaves(other, "").pop())
        .map(whole)
        .collect();
    assert_eq!(values, changed);
    let usual = rendered("")?;

    for other in &others {
        let path = leaves(other, "").pop().context("nothing")?;
        let mut base = other.clone();

        // Several values: without the last one they may not be allowed, or have the same effect.
        if leaves(other, "").len() > 1
            && path.ends_with("existingSecret")
            && path.starts_with("/staging")
        {
            if let Some(staging) = base.get_mut("staging").and_then(Value::as_mapping_mut) {
                staging.remove("existingSecret");
            }
        } else {
            base = Value::Null;
        }

        let before = if base.is_null() {
            usual.clone()
        } else {
            rendered(&serde_yaml::to_string(&base)?)?
        };

        ensure!(
            rendered(&serde_yaml::to_string(other)?)? != before,
            "{path} has no effect"
        );
    }

    Ok(())
}

#[test]
fn services_have_the_pods_that_the_values_say_and_the_deployer_one() -> Result<()> {
    let pods = |values: &str| -> Result<[u64; 4]> {
        let objects = objects(values)?;
        let services = ["watcher", "network", "registry-pusher", "deployer"];
        Ok(services.map(|service| {
            let deployment = objects.iter().find(|object| {
                word(object, &["kind"]) == "Deployment"
                    && word(object, &["metadata", "name"]) == service
            });
            let replicas = deployment.map(|object| super::at(object, &["spec", "replicas"]));
            replicas.and_then(Value::as_u64).unwrap_or_default()
        }))
    };

    assert_eq!(pods("")?, [1, 1, 1, 1]);
    let more = "replicas: {watcher: 2, network: 3, registryPusher: 4}";
    assert_eq!(pods(more)?, [2, 3, 4, 1]);
    Ok(())
}
