//! What generic tools make of our objects: kstatus, by which Flux and others judge, and `kubectl
//! wait`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use lab::process::fed;
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;

use crate::user::{User, unique};

/// How many objects of a Workspace have which status, by kind.
fn statuses(user: &User, name: &str) -> Result<BTreeMap<(String, String), usize>> {
    let (named, made) = (
        format!("metadata.name={name}"),
        format!("se.quencer.io/workspace={name}"),
    );
    let mut said = String::new();
    for args in [
        ["workspaces", "--field-selector", &named],
        ["components,builds,dnsrecords", "-l", &made],
    ] {
        // DNSRecords are elsewhere.
        let list = user
            .cluster
            .kubectl(&[&["get", "--all-namespaces", "-o", "json"], &args[..]].concat())?;
        said += &fed(
            &mut std::process::Command::new(user.cluster.layout.bin("kstatus")),
            &list,
        )?;
    }
    let mut count = BTreeMap::new();
    for line in said.lines() {
        let mut words = line.split(' ');
        let (kind, status) = (
            words.next().unwrap_or_default(),
            words.next_back().unwrap_or_default(),
        );
        *count.entry((kind.into(), status.into())).or_insert(0) += 1;
    }
    Ok(count)
}

fn expect(user: &User, name: &str, expected: &[(&str, &str, usize)]) -> Result<()> {
    let expected = expected
        .iter()
        .map(|(kind, status, count)| (((*kind).into(), (*status).into()), *count))
        .collect();
    until(&format!("kstatus sees {expected:?}"), PATIENCE, || {
        let found = statuses(user, name)?;
        ensure!(found == expected, "it sees {found:?}");
        Ok(())
    })
}

#[test]
fn kstatus_and_kubectl_wait_understand_every_kind() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    let name = &unique("kstatus");
    user.push_step(name, "RUN exit 7")?;
    user.apply_with_tunnel(name)?;
    let under_way = statuses(&user, name)?;
    ensure!(
        under_way.contains_key(&("Workspace".into(), "InProgress".into())),
        "{under_way:?}"
    );

    let (workspace, selector) = (
        format!("workspace/{name}"),
        format!("se.quencer.io/workspace={name}"),
    );
    let wait = |what: &[&str], condition: &str| {
        let condition = format!("--for=condition={condition}");
        user.kubectl(&[&["wait", "--timeout=120s", &condition], what].concat())
            .map(drop)
    };

    let app = user.component(name, "app")?;

    for failed in [
        &[workspace.as_str()][..],
        &[&app],
        &["builds", "-l", &selector],
    ] {
        wait(failed, "Stalled")?;
    }

    expect(
        &user,
        name,
        &[
            ("Workspace", "Failed", 1),
            ("Component", "Failed", 1),
            ("Component", "Current", 2),
            ("Build", "Failed", 1),
            // It holds the host, and is not published before something answers there.
            ("DNSRecord", "InProgress", 1),
        ],
    )?;

    user.push_step(name, "")?;
    wait(&[&workspace], "Ready")?;
    wait(&["components", "-l", &selector], "Ready")?;
    User::new()?.kubectl(&[
        "wait",
        "dnsrecords",
        "-l",
        &selector,
        "--for=condition=Ready",
        "--timeout=120s",
    ])?;

    // The Build that failed stays for a while, as history.
    expect(
        &user,
        name,
        &[
            ("Workspace", "Current", 1),
            ("Component", "Current", 3),
            ("Build", "Current", 1),
            ("Build", "Failed", 1),
            ("DNSRecord", "Current", 1),
        ],
    )?;
    user.kubectl(&["delete", &workspace, "--wait=false"])?;
    user.kubectl(&["wait", &workspace, "--for=delete", "--timeout=120s"])
        .map(drop)
}
