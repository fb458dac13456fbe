//! What is rendered: lint, the API server's own validation, the kinds, settings.

use anyhow::{Context as _, Result, ensure};
use lab::layout::text;
use serde_yaml::Value;

use lab::testing::layout;

use super::server::Server;
use super::{at, chart, helm, objects, said, word};

/// Nothing set; everything set; everything external.
pub(crate) const VALUES: [&str; 3] = ["", FULL, EXTERNAL];

pub(crate) const FULL: &str = r#"
tenants: {namespaces: [team-a]}
secretGrants: [{namespace: default, names: [cloudflare-api-token, other]}]
workspaces:
  inheritLabels: [team]
  sharedClaims: [{namespace: team-a, name: models}, {namespace: team-a, name: scratch, readOnly: false}]
  networkPolicy: {extraEgress: [{ports: [{port: 25}]}]}
builder:
  pools:
  - {name: default}
  - name: large
    replicas: 2
    namespaces: ["team-*", sequencer-system]
    concurrency: 4
    sharedProcesses: true
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
        helm.args([
            "lint",
            "--strict",
            &text(chart()?),
            "--set",
            "clusterId=test",
            "--kube-version",
            "1.36.3",
        ]),
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
        let (ground, rest): (Vec<_>, Vec<_>) = objects.iter().partition(|object| {
            ["CustomResourceDefinition", "Namespace"].contains(&word(object, &["kind"]))
        });
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

        let metadata = object
            .get_mut("metadata")
            .and_then(Value::as_mapping_mut)
            .context("no metadata")?;
        let annotations = metadata.remove("annotations").context("no annotations")?;
        assert_eq!(word(&annotations, &["helm.sh/resource-policy"]), "keep");
        let plural = word(&object, &["spec", "names", "plural"]);
        let file = chart()?.join(format!("files/crds/{plural}.yaml"));

        assert!(
            object == serde_yaml::from_str::<Value>(&std::fs::read_to_string(file)?)?,
            "{plural}"
        );
    }

    assert_eq!(found, 4);
    Ok(())
}

/// Every container of the pods that are rendered, with the pod's spec.
pub(crate) fn containers(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let specs = objects
        .iter()
        .map(|object| at(object, &["spec", "template", "spec"]));
    let lists = specs
        .flat_map(|spec| ["initContainers", "containers"].map(|list| (spec, at(spec, &[list]))));

    lists
        .flat_map(|(spec, list)| {
            list.as_sequence()
                .into_iter()
                .flatten()
                .map(move |container| (spec, container))
        })
        .collect()
}

#[test]
fn no_pod_of_ours_is_more_than_restricted_but_for_buildkit() -> Result<()> {
    for values in VALUES {
        let objects = objects(values)?;
        for (pod, container) in containers(&objects) {
            let name = word(container, &["name"]);
            let security = |field: &str| at(container, &["securityContext", field]);

            assert_eq!(
                at(pod, &["automountServiceAccountToken"]),
                &Value::from(false),
                "{name}"
            );
            assert_eq!(
                at(pod, &["securityContext", "runAsNonRoot"]),
                &Value::from(true),
                "{name}"
            );
            assert_eq!(
                security("readOnlyRootFilesystem"),
                &Value::from(true),
                "{name}"
            );
            assert_eq!(
                at(security("capabilities"), &["drop"]),
                &Value::from(vec!["ALL"]),
                "{name}"
            );

            assert!(
                !at(container, &["resources", "limits", "memory"]).is_null(),
                "{name}"
            );

            let buildkit = name == "buildkit";
            let added = at(security("capabilities"), &["add"]);

            assert_eq!(
                added,
                &if buildkit {
                    Value::from(vec!["SETUID", "SETGID"])
                } else {
                    Value::Null
                },
                "{name}"
            );
            assert_eq!(
                security("allowPrivilegeEscalation"),
                &Value::from(buildkit),
                "{name}"
            );

            let mounts = at(container, &["volumeMounts"])
                .as_sequence()
                .into_iter()
                .flatten();
            let token = mounts
                .filter(|mount| word(mount, &["name"]) == "kubernetes")
                .count();
            let service = lab::release::SERVICES.contains(&name);
            assert_eq!(token, usize::from(service), "{name}");
        }
    }
    Ok(())
}

/// By this the chart selects its pods. It stands on nothing that the services make.
const PART: &str = "se.quencer.io/part";

/// Every selector of pods in an object, whatever it stands in: its labels, with the path to it.
fn selectors<'a>(value: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    for (key, inner) in value.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let path = format!("{path}/{key}");
        match key {
            // A Service has labels there, everything else an object that holds them.
            "selector" | "podSelector" | "labelSelector" if inner.is_mapping() => {
                let labels = at(inner, &["matchLabels"]);
                found.push((path, if labels.is_null() { inner } else { labels }));
            }
            _ => selectors(inner, &path, found),
        }
    }
    for inner in value.as_sequence().into_iter().flatten() {
        selectors(inner, &format!("{path}[]"), found);
    }
}

/// Whether all labels of a selector are among these.
fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector.as_mapping().into_iter().flatten();
    pairs
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[test]
fn pods_are_selected_by_labels_that_no_tenant_can_write_and_each_selector_finds_its_own()
-> Result<()> {
    for values in VALUES {
        let objects = objects(values)?;
        let pods: Vec<_> = objects
            .iter()
            .map(|object| at(object, &["spec", "template", "metadata", "labels"]))
            .collect();
        let pods: Vec<_> = pods
            .into_iter()
            .filter(|labels| !labels.is_null())
            .collect();
        let mut all = Vec::new();
        // The schemas of the kinds speak of selectors, and select nothing.
        for object in objects
            .iter()
            .filter(|object| word(object, &["kind"]) != "CustomResourceDefinition")
        {
            let path = format!(
                "{}/{}",
                word(object, &["kind"]),
                word(object, &["metadata", "name"])
            );
            selectors(object, &path, &mut all);
        }
        ensure!(
            all.len() > pods.len(),
            "only {} selectors are found",
            all.len()
        );
        for (path, selector) in all {
            // Everything in a namespace that tenants have no rights in.
            if path == "NetworkPolicy/connectors/spec/podSelector" {
                continue;
            }
            let keys: Vec<_> = selector
                .as_mapping()
                .into_iter()
                .flatten()
                .filter_map(|(key, _)| key.as_str())
                .collect();
            ensure!(keys.contains(&PART), "{path}: {selector:?}");
            ensure!(
                keys.iter()
                    .all(|key| [PART, "se.quencer.io/pool"].contains(key)),
                "{path}: {selector:?}"
            );
            ensure!(
                pods.iter().any(|pod| selects(selector, pod)),
                "{path} selects nothing: {selector:?}"
            );
        }
        // And none finds another part's: a part is what it is called.
        for pod in &pods {
            assert_eq!(at(pod, &[PART]), at(pod, &["app.kubernetes.io/name"]));
        }
    }
    Ok(())
}

#[test]
fn every_buildkit_is_supervised_and_shared_only_where_the_values_say_so() -> Result<()> {
    let words = |of: &Value| -> Vec<String> {
        of.as_sequence()
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(ToOwned::to_owned))
            .collect()
    };
    let objects = objects(FULL)?;
    let all = containers(&objects);
    let buildkits = all
        .iter()
        .map(|(_, container)| container)
        .filter(|container| word(container, &["name"]) == "buildkit");
    let mut shared = Vec::new();
    for buildkit in buildkits {
        let command = words(at(buildkit, &["command"]));
        assert_eq!(
            command.get(..2),
            Some(&["/run/sequencer/builder".to_owned(), "supervise".into()][..])
        );
        assert_eq!(command.last().map(String::as_str), Some("--"));
        assert_eq!(
            words(at(buildkit, &["args"])).get(..2),
            Some(&["rootlesskit".to_owned(), "buildkitd".into()][..])
        );
        let mounts = at(buildkit, &["volumeMounts"])
            .as_sequence()
            .context("no mounts")?;
        let program = mounts
            .iter()
            .find(|mount| word(mount, &["mountPath"]) == "/run/sequencer")
            .context("no program")?;
        assert_eq!(
            at(program, &["readOnly"]),
            &Value::from(true),
            "a step could change it"
        );
        shared.push(command.contains(&"--shared-processes".into()));
    }
    assert_eq!(shared, [false, true]);
    Ok(())
}

#[test]
fn every_service_knows_every_setting_that_it_is_given() -> Result<()> {
    let programs = layout()?;
    let objects: Vec<_> = VALUES
        .iter()
        .map(|values| objects(values))
        .collect::<Result<_>>()?;

    for service in lab::release::SERVICES {
        let (helped, help) = said(
            std::process::Command::new(programs.bin(service)).arg("--help"),
            "",
        )?;
        ensure!(helped, "{help}");
        let mut given = 0;

        for (_, container) in objects.iter().flat_map(|objects| containers(objects)) {
            let ours = word(container, &["name"]) == service;
            for variable in at(container, &["env"])
                .as_sequence()
                .into_iter()
                .flatten()
                .filter(|_| ours)
            {
                let name = word(variable, &["name"]);
                ensure!(
                    help.contains(&format!("[env: {name}=")),
                    "{service} does not know {name}"
                );
                given += 1;
            }
        }

        ensure!(given > 0, "{service} is given nothing");
    }

    Ok(())
}
