//! Values: what the schema refuses, and that everything it takes has an effect.

use anyhow::{Result, ensure};

use super::template;

/// Wrong values, and the field that the answer has to name.
const BAD: &[(&str, &str)] = &[
    ("nonsense: 1", "nonsense"),
    ("watcher: {}", "watcher"),
    ("image: {tags: a}", "/image"),
    ("image: {repository: ''}", "/image/repository"),
    ("tenants: {namespaces: [Team]}", "/tenants/namespaces/0"),
    ("tenants: {namespaces: [a, a]}", "/tenants/namespaces"),
    ("tenants: team-a", "/tenants"),
    ("secretGrants: [{namespace: default, names: []}]", "/secretGrants/0/names"),
    ("secretGrants: [{namespace: default}]", "/secretGrants/0"),
    ("secretGrants: [{namespace: default, names: [a], to: [b]}]", "/secretGrants/0"),
    ("workspaces: {podSecurity: none}", "/workspaces/podSecurity"),
    ("workspaces: {quotas: {}}", "/workspaces"),
    ("workspaces: {networkPolicy: {enabled: 'yes'}}", "/workspaces/networkPolicy/enabled"),
    ("builder: {replicas: -1}", "/builder/replicas"),
    ("builder: {maxTimeout: 1d}", "/builder/maxTimeout"),
    ("builder: {pools: [{replicas: 1}]}", "/builder/pools/0"),
    ("builder: {pools: [{name: Large}]}", "/builder/pools/0/name"),
    ("builder: {pools: [{name: a, gpus: 1}]}", "/builder/pools/0"),
    ("builder: {pools: [{name: a, cache: {size: fifty}}]}", "/builder/pools/0/cache/size"),
    ("builder: {pools: [{name: a, concurrency: 0}]}", "/builder/pools/0/concurrency"),
    ("git: {hosts: [{host: github.com}]}", "/git/hosts/0"),
    ("git: {hosts: [{host: github.com, knownHosts: a, caSecret: b}]}", "/git/hosts/0"),
    ("staging: {url: 'http://a:5000'}", "/staging/url"),
    ("staging: {enabled: false}", "/staging/url"),
    ("staging: {enabled: false, url: 'https://user:password@a'}", "/staging/url"),
    ("staging: {persistence: {size: 1 GB}}", "/staging/persistence/size"),
    ("dockerCache: {secretName: A}", "/dockerCache/secretName"),
    ("dns: {ttl: 0}", "/dns/ttl"),
    ("dns: {providers: [{name: a, zones: [b.c]}]}", "/dns/providers/0"),
    ("dns: {providers: [{name: a, zones: [], wildcard: {}}]}", "/dns/providers/0/zones"),
    ("dns: {providers: [{name: a, zones: [b.c], wildcard: {}, cloudflare: {}}]}", "/dns/providers/0"),
    ("dns: {providers: [{name: a, zones: [b.c], route53: {}}]}", "/dns/providers/0"),
    ("dns: {providers: [{name: a, zones: [b.c], cloudflare: {apiToken: secret}}]}", "/dns/providers/0/cloudflare"),
    ("clusterId: My-Cluster", "/clusterId"),
    ("clusterId: '0123456789abc'", "/clusterId"),
    ("tunnels: {cloudflare: {mode: shared}}", "/tunnels/cloudflare"),
    ("tunnels: {cloudflare: {replicas: 0}}", "/tunnels/cloudflare/replicas"),
    ("ingress: {tls: {issuerRef: {name: a}}}", "/ingress/tls/issuerRef"),
    ("ingress: {tls: {secretName: a, issuerRef: {kind: Issuer, name: a}}}", "/ingress/tls"),
    ("periods: {claim: 120}", "/periods/claim"),
    ("periods: {poll: 5s}", "/periods"),
    ("egress: {allowedCIDRs: [10.0.0.1]}", "/egress/allowedCIDRs/0"),
    ("caBundle: {configMapName: Bundle}", "/caBundle/configMapName"),
    ("nats: {url: 'tls://a:4222'}", "/nats/url"),
    ("nats: {enabled: false, url: 'tls://a:4222'}", "/nats/tls/existingSecret"),
    ("nats: {enabled: false, url: 'nats://a:4222', tls: {existingSecret: a}}", "/nats/url"),
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
