//! Installing and upgrading, on an API server without nodes.

use anyhow::{Result, ensure};
use lab::release::{BUILDS, NAME, NAMESPACE};
use serde_yaml::Value;

use super::server::Server;
use super::word;

#[test]
fn an_upgrade_keeps_certificates_and_logins_and_makes_those_of_a_new_pool() -> Result<()> {
    let server = Server::start()?;
    let (installed, said) = server.upgrade("")?;
    ensure!(installed, "{said}");
    let before = server.secrets()?;
    ensure!(before.len() == 10, "{:?}", before.keys());
    let (upgraded, said) = server.upgrade("builder: {pools: [{name: default}, {name: large}]}")?;
    ensure!(upgraded, "{said}");
    let after = server.secrets()?;

    for (name, data) in &before {
        assert!(after.get(name) == Some(data), "{name} has changed");
    }

    let new = format!("{BUILDS}/nats-builder-large");
    assert_eq!(after.len(), before.len() + 1);

    let (new, ca) = (
        after.get(&new).unwrap_or(&Value::Null),
        before.get(&format!("{NAMESPACE}/nats-ca")),
    );

    assert_eq!(
        Some(word(new, &["ca.crt"])),
        ca.map(|ca| word(ca, &["ca.crt"]))
    );
    Ok(())
}

#[test]
fn an_uninstall_leaves_the_kinds_and_the_copies_of_credentials() -> Result<()> {
    let server = Server::start()?;
    let (installed, said) = server.upgrade("")?;
    ensure!(installed, "{said}");
    let (gone, said) = server.helm(&["uninstall", NAME], "")?;
    ensure!(gone, "{said}");

    let kinds = ["workspaces", "components", "builds", "dnsrecords"]
        .map(|kind| format!("crd/{kind}.se.quencer.io"));
    for kept in kinds
        .iter()
        .map(String::as_str)
        .chain(["namespace/sequencer-tunnels"])
    {
        assert_eq!(
            server.kubectl(&["get", kept, "-o", "jsonpath={.metadata.deletionTimestamp}"])?,
            "",
            "{kept}"
        );
    }

    Ok(())
}

#[test]
fn a_bundle_that_is_not_there_stops_the_installation() -> Result<()> {
    let server = Server::start()?;
    let (installed, said) = server.upgrade("caBundle: {configMapName: bundle}")?;

    ensure!(
        !installed && said.contains("caBundle.configMapName"),
        "{said}"
    );

    server.kubectl(&[
        "-n",
        NAMESPACE,
        "create",
        "configmap",
        "bundle",
        "--from-literal=ca.crt=authority",
    ])?;

    let (installed, said) = server.upgrade("caBundle: {configMapName: bundle}")?;
    ensure!(installed, "{said}");

    let copy = server.kubectl(&[
        "-n",
        BUILDS,
        "get",
        "configmap",
        "bundle",
        "-o",
        "jsonpath={.data['ca\\.crt']}",
    ])?;
    assert_eq!(copy, "authority");
    Ok(())
}
