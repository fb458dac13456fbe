//! What is rendered: lint, the API server's own validation, the kinds, settings.

use anyhow::{Context as _, Result, ensure};
use e2e::layout::text;
use serde_yaml::Value;

use e2e::testing::layout;

use super::server::Server;
use super::{at, chart, helm, objects, said, word};

/// Nothing set; everything set; everything external.
pub(crate) const VALUES: [&str; 3] = ["", FULL, EXTERNAL];

pub(crate) const FULL: &str = r#"
tenants: {namespaces: [team-a]}
secretGrants: [{namespace: default, names: [cloudflare-api-token, other]}]
workspaces:
  inheritLabels: [team]
  networkPolicy: {extraEgress: [{ports: [{port: 25}]}]}
builder:
  pools:
  - {name: default}
  - name: large
    replicas: 2
    concurrency: 4
    nodeSelector: {pool: builds}
    tolerations: [{key: pool, value: builds, effect: NoSchedule}]
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
    resources: {limits: {cpu: "2", memory: 8Gi}}
    cache: {size: 50Gi, storageClassName: fast}
dockerCache: {secretName: docker}
git: {hosts: [{host: git.example, knownHosts: "git.example ssh-ed25519 AAAA"}]}
dns:
  providers:
  - {name: cloudflare-main, zones: [yourdomain.com], namespaces: ["team-*"], cloudflare: {apiTokenSecretRef: {name: cloudflare-dns, key: apiKey}}}
  - {name: lab, zones: [preview.test], rfc2136: {nameserver: "10.0.0.53:53", tsigKeyName: seq, tsigAlgorithm: HMACSHA256, tsigSecretSecretRef: {name: tsig, key: secret}}}
  - {name: wild, zones: [w.example], wildcard: {}}
tunnels: {cloudflare: {image: "cloudflared:1"}}
ingress: {className: traefik, tls: {issuerRef: {kind: ClusterIssuer, name: letsencrypt}}, allowedAnnotations: [a.b/c]}
egress: {allowedCIDRs: [10.1.0.0/16, "fd00::/8"], apiServerCIDRs: [10.0.0.1/32]}
caBundle: {configMapName: bundle}
telemetry: {otlpEndpoint: "http://otlp:4317"}
"#;

const EXTERNAL: &str = r#"
tenants: {namespaces: ["*"]}
staging: {enabled: false, url: "https://registry.example", existingSecret: staging}
dockerCache: {enabled: false}
nats: {enabled: false, url: "tls://nats.example:4222", tls: {existingSecret: mine}}
ingress: {tls: {secretName: preview-tls}}
"#;

#[test]
fn lint_finds_nothing() -> Result<()> {
    let mut helm = helm()?;
    let (clean, said) = said(
        helm.args(["lint", "--strict", &text(chart()?), "--set", "clusterId=test", "--kube-version", "1.36.3"]),
        "",
    )?;
    ensure!(clean && !said.contains("[WARNING]"), "{said}");
    Ok(())
}

#[test]
fn the_api_server_takes_everything_that_is_rendered() -> Result<()> {
    let server = Server::start()?;
    server.kubectl(&["create", "namespace", "team-a"])?;
    for values in VALUES {
        let objects = objects(values)?;
        let (ground, rest): (Vec<_>, Vec<_>) = objects
            .iter()
            .partition(|object| ["CustomResourceDefinition", "Namespace"].contains(&word(object, &["kind"])));
        server.apply(&ground, &["--force-conflicts"])?;
        server.apply(&rest, &["--dry-run=server"])?;
    }
    Ok(())
}

#[test]
fn the_kinds_are_kept_and_are_else_what_was_generated() -> Result<()> {
    let mut found = 0;
    for mut object in objects("")? {
        if word(&object, &["kind"]) != "CustomResourceDefinition" {
            continue;
        }
        found += 1;
        let metadata = object.get_mut("metadata").and_then(Value::as_mapping_mut).context("no metadata")?;
        let annotations = metadata.remove("annotations").context("no annotations")?;
        assert_eq!(word(&annotations, &["helm.sh/resource-policy"]), "keep");
        let plural = word(&object, &["spec", "names", "plural"]);
        let file = chart()?.join(format!("files/crds/{plural}.yaml"));
        assert!(object == serde_yaml::from_str::<Value>(&std::fs::read_to_string(file)?)?, "{plural}");
    }
    assert_eq!(found, 4);
    Ok(())
}

/// Every container of the pods that are rendered, with the pod's spec.
pub(crate) fn containers(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let specs = objects.iter().map(|object| at(object, &["spec", "template", "spec"]));
    let lists = specs.flat_map(|spec| ["initContainers", "containers"].map(|list| (spec, at(spec, &[list]))));
    lists
        .flat_map(|(spec, list)| list.as_sequence().into_iter().flatten().map(move |container| (spec, container)))
        .collect()
}

#[test]
fn no_pod_of_ours_is_more_than_restricted_but_for_buildkit() -> Result<()> {
    for values in VALUES {
        let objects = objects(values)?;
        for (pod, container) in containers(&objects) {
            let name = word(container, &["name"]);
            let security = |field: &str| at(container, &["securityContext", field]);
            assert_eq!(at(pod, &["automountServiceAccountToken"]), &Value::from(false), "{name}");
            assert_eq!(at(pod, &["securityContext", "runAsNonRoot"]), &Value::from(true), "{name}");
            assert_eq!(security("readOnlyRootFilesystem"), &Value::from(true), "{name}");
            assert_eq!(at(security("capabilities"), &["drop"]), &Value::from(vec!["ALL"]), "{name}");
            assert!(!at(container, &["resources", "limits", "memory"]).is_null(), "{name}");
            let buildkit = name == "buildkit";
            let added = at(security("capabilities"), &["add"]);
            assert_eq!(added, &if buildkit { Value::from(vec!["SETUID", "SETGID"]) } else { Value::Null }, "{name}");
            assert_eq!(security("allowPrivilegeEscalation"), &Value::from(buildkit), "{name}");
            let mounts = at(container, &["volumeMounts"]).as_sequence().into_iter().flatten();
            let token = mounts.filter(|mount| word(mount, &["name"]) == "kubernetes").count();
            let service = e2e::release::SERVICES.contains(&name);
            assert_eq!(token, usize::from(service), "{name}");
        }
    }
    Ok(())
}

#[test]
fn every_service_knows_every_setting_that_it_is_given() -> Result<()> {
    let programs = e2e::install::rust::services(&layout()?, &e2e::release::SERVICES)?;
    let objects: Vec<_> = VALUES.iter().map(|values| objects(values)).collect::<Result<_>>()?;
    for service in e2e::release::SERVICES {
        let (helped, help) = said(std::process::Command::new(programs.join(service)).arg("--help"), "")?;
        ensure!(helped, "{help}");
        let mut given = 0;
        for (_, container) in objects.iter().flat_map(|objects| containers(objects)) {
            let ours = word(container, &["name"]) == service;
            for variable in at(container, &["env"]).as_sequence().into_iter().flatten().filter(|_| ours) {
                let name = word(variable, &["name"]);
                ensure!(help.contains(&format!("[env: {name}=")), "{service} does not know {name}");
                given += 1;
            }
        }
        ensure!(given > 0, "{service} is given nothing");
    }
    Ok(())
}
