//! What the chart's admission policies refuse, on an API server without nodes.

use anyhow::{Context as _, Result, ensure};
use lab::release::NAMESPACE;
use lab::until::until;
use serde_json::{Value, json};

use super::server::Server;

pub(crate) const TENANT: &str = "team-a";
pub(crate) const USER: &str = "tenant";

/// An API server with the chart's kinds and policies.
pub(crate) fn installed() -> Result<Server> {
    let server = Server::start()?;
    let (installed, said) = server.upgrade("")?;
    ensure!(installed, "{said}");
    server.kubectl(&[
        "wait",
        "crd",
        "--all",
        "--for=condition=Established",
        "--timeout=30s",
    ])?;
    Ok(server)
}

/// A user of the namespace who may do everything with our kinds, and read the Secrets `mine-*`
/// alone.
pub(crate) fn tenant(server: &Server) -> Result<()> {
    server.kubectl(&["create", "namespace", TENANT])?;
    let role = |name: &str, rules: &Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": TENANT}, "rules": rules});
    let mine: Vec<_> = (0..20).map(|number| format!("mine-{number}")).collect();
    let role = role(
        USER,
        &json!([
            {"apiGroups": ["se.quencer.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": mine, "verbs": ["get"]},
        ]),
    );
    server.apply(&[&serde_yaml::to_value(&role)?], &[])?;
    server.kubectl(&[
        "-n",
        TENANT,
        "create",
        "rolebinding",
        USER,
        "--role",
        USER,
        "--user",
        USER,
    ])?;
    Ok(())
}

fn component(secrets: &[&str]) -> Value {
    let from: Vec<_> = secrets
        .iter()
        .map(|name| json!({"secretRef": {"name": name}}))
        .collect();
    json!({"name": "web", "template": {"containers": [{"name": "web", "image": "nginx", "envFrom": from}]}})
}

pub(crate) fn object(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": kind, "metadata": {"name": "sample", "namespace": TENANT}, "spec": spec})
}

/// A Workspace's spec for every place in which it can name a Secret, with one that the user may not
/// read.
fn places() -> Result<Vec<Value>> {
    Ok(serde_yaml::from_str(include_str!("named-secrets.yaml"))?)
}

#[test]
fn a_user_names_only_secrets_that_he_may_read() -> Result<()> {
    let server = installed()?;
    tenant(&server)?;
    let theirs = json!({"components": [component(&["theirs"])]});
    until(
        "the policies are in force",
        std::time::Duration::from_secs(30),
        || {
            ensure!(
                refused(&server, &object("Workspace", &theirs), USER, "E#6025")?,
                "it is taken"
            );
            Ok(())
        },
    )?;
    let places = places()?;
    for spec in &places {
        let workspace = object("Workspace", spec);
        ensure!(
            refused(&server, &workspace, USER, "E#6025")?,
            "taken: {workspace}"
        );
        server.dry_run(&workspace, None)?;
    }

    let mine: Vec<_> = (0..17).map(|number| format!("mine-{number}")).collect();
    let mine: Vec<_> = mine.iter().map(String::as_str).collect();
    let all = |count: usize| {
        let names: Vec<_> = mine.iter().take(count).copied().collect();
        // A Secret that is named twice is one.
        object(
            "Workspace",
            &json!({"components": [component(&[names.as_slice(), &names].concat())]}),
        )
    };
    server.dry_run(&all(16), Some(USER))?;
    ensure!(refused(&server, &all(17), USER, "E#6025")?, "17 are taken");

    // What the watcher makes of a Workspace was asked of the Workspace's author.
    let watcher = format!("system:serviceaccount:{NAMESPACE}:watcher");
    let component = object("Component", &component(&["theirs"]));
    ensure!(
        refused(&server, &component, USER, "E#6025")?,
        "taken: {component}"
    );
    server.dry_run(&component, Some(&watcher))?;
    let build = places
        .iter()
        .find_map(|spec| spec.pointer("/components/0/build"))
        .context("no place in a build")?;
    let build = object("Build", build);
    ensure!(refused(&server, &build, USER, "E#6025")?, "taken: {build}");
    server.dry_run(&build, Some(&watcher))?;
    Ok(())
}

#[test]
fn only_some_name_services_of_other_namespaces_or_give_up_what_is_outside() -> Result<()> {
    let server = installed()?;
    tenant(&server)?;

    let published = |service: &Value| {
        let rules = json!([{"name": "a", "component": "web", "network": "http"}]);
        let mut component = component(&[]);
        component["networks"] = json!([{"name": "http", "port": 80}]);
        let ingress = json!({"rules": rules, "loadBalancerRef": service});
        let networking = json!({"dns": {"zone": "preview.test"}, "ingress": ingress});
        object(
            "Workspace",
            &json!({"components": [component], "networking": networking}),
        )
    };
    let theirs = published(&json!({"name": "traefik", "namespace": "kube-system"}));
    until(
        "the policy is in force",
        std::time::Duration::from_secs(30),
        || {
            ensure!(refused(&server, &theirs, USER, "E#6045")?, "it is taken");
            Ok(())
        },
    )?;
    server.dry_run(&theirs, None)?;
    server.dry_run(
        &published(&json!({"name": "traefik", "namespace": TENANT})),
        Some(USER),
    )?;
    server.dry_run(&published(&json!({"name": "traefik"})), Some(USER))?;

    let mut given_up = object("Workspace", &json!({"components": [component(&[])]}));
    server.dry_run(&given_up, Some(USER))?;
    given_up["metadata"]["annotations"] = json!({"se.quencer.io/abandon-external": "uid"});
    ensure!(refused(&server, &given_up, USER, "E#6046")?, "it is taken");
    server.dry_run(&given_up, None)
}

#[test]
fn a_dns_record_lives_in_the_release_namespace_alone() -> Result<()> {
    let server = installed()?;

    let record = |namespace: &str| {
        json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {"name": "web.preview.test.cname", "namespace": namespace},
            "spec": {"zone": "preview.test", "name": "web", "recordType": "CNAME", "target": "a.example"}})
    };

    until(
        "the policy is in force",
        std::time::Duration::from_secs(30),
        || {
            ensure!(
                server
                    .dry_run(&record("default"), None)
                    .is_err_and(|error| error.to_string().contains("E#6062")),
                "it is taken"
            );
            Ok(())
        },
    )?;
    server.dry_run(&record(NAMESPACE), None)
}

#[test]
fn whose_a_dns_record_is_the_watcher_says_alone() -> Result<()> {
    let server = installed()?;
    server.kubectl(&[
        "-n",
        NAMESPACE,
        "create",
        "role",
        USER,
        "--verb=*",
        "--resource=dnsrecords.se.quencer.io",
    ])?;
    server.kubectl(&[
        "-n",
        NAMESPACE,
        "create",
        "rolebinding",
        USER,
        "--role",
        USER,
        "--user",
        USER,
    ])?;
    let record = |name: &str, labels: &Value| {
        json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {"name": format!("{name}.preview.test.cname"), "namespace": NAMESPACE, "labels": labels},
            "spec": {"zone": "preview.test", "name": name, "recordType": "CNAME", "target": "a.example"}})
    };
    let watcher = format!("system:serviceaccount:{NAMESPACE}:watcher");
    let labels = [
        "se.quencer.io/workspace",
        "se.quencer.io/workspace-namespace",
        "se.quencer.io/ws-uid",
    ];
    until(
        "the policy is in force",
        std::time::Duration::from_secs(30),
        || {
            ensure!(
                refused(
                    &server,
                    &record("web", &json!({labels[0]: "theirs"})),
                    USER,
                    "E#6062"
                )?,
                "it is taken"
            );
            Ok(())
        },
    )?;
    for label in labels {
        let record = record("web", &json!({label: "theirs"}));
        ensure!(
            refused(&server, &record, USER, "E#6062")?,
            "taken: {record}"
        );
        server.dry_run(&record, Some(&watcher))?;
    }
    // One on its own is its user's, and stays so.
    let own = record("own", &json!({"team": "a"}));
    server.dry_run(&own, Some(USER))?;
    server.apply(&[&serde_yaml::to_value(&own)?], &[])?;
    let label = |pair: &str| {
        let object = "dnsrecord/own.preview.test.cname";
        server
            .kubectl(&[
                "-n",
                NAMESPACE,
                "label",
                object,
                pair,
                "--overwrite",
                "--as",
                USER,
            ])
            .map(drop)
    };
    label("team=b")?;
    for name in labels {
        let refused = label(&format!("{name}=theirs"));
        ensure!(
            refused.is_err_and(|error| error.to_string().contains("E#6062")),
            "{name} is taken"
        );
    }
    Ok(())
}

/// Whether it is refused to this user with this code.
pub(crate) fn refused(server: &Server, object: &Value, user: &str, code: &str) -> Result<bool> {
    match server.dry_run(object, Some(user)) {
        Ok(()) => Ok(false),
        Err(error) if error.to_string().contains(code) => Ok(true),
        Err(error) => Err(error),
    }
}
