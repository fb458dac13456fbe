//! bind9 and its signed updates.

use std::io::Write as _;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::layout::NAME_SERVER;
use lab::parts::name_server::{KEY, ZONE};
use lab::secrets::Secrets;
use lab::testing::layout;

/// Sends one update, signed with this secret if there is one.
fn update(cluster: &Cluster, secret: Option<&str>, change: &str) -> Result<Output> {
    let key = secret
        .map(|secret| format!("key hmac-sha256:{KEY} {secret}\n"))
        .unwrap_or_default();
    let mut nsupdate = cluster.general.command(&["nsupdate"])?;
    let mut child = nsupdate
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let script = format!("server {NAME_SERVER}\nzone {ZONE}\n{key}update {change}\nsend\n");

    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(script.as_bytes())?;
    Ok(child.wait_with_output()?)
}

/// What the cluster's resolver answers.
fn dig(cluster: &Cluster, name: &str) -> Result<String> {
    Ok(cluster
        .general
        .run(&["dig", "+short", name])?
        .trim()
        .to_owned())
}

#[test]
fn a_signed_update_is_answered_at_once() -> Result<()> {
    let cluster = Cluster::new(layout()?);
    let secrets = Secrets::ensure(&cluster.layout)?;
    let name = format!("signed-{}.{ZONE}", std::process::id());
    let done = update(
        &cluster,
        Some(&secrets.tsig),
        &format!("add {name} 60 A 192.0.2.7"),
    )?;

    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(dig(&cluster, &name)?, "192.0.2.7");
    update(&cluster, Some(&secrets.tsig), &format!("delete {name}"))?;
    assert_eq!(dig(&cluster, &name)?, "");
    Ok(())
}

#[test]
fn an_update_without_the_key_is_refused() -> Result<()> {
    let cluster = Cluster::new(layout()?);
    let name = format!("unsigned-{}.{ZONE}", std::process::id());
    let wrong = "d3JvbmcgYnV0IG9mIHRoZSByaWdodCBsZW5ndGggISE=";
    for (secret, answer) in [(None, "REFUSED"), (Some(wrong), "BADSIG")] {
        let done = update(&cluster, secret, &format!("add {name} 60 A 192.0.2.7"))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();

        ensure!(
            !done.status.success() && said.contains(answer),
            "expected {answer}, got {}: {said}",
            done.status
        );
        assert_eq!(dig(&cluster, &name)?, "");
    }

    Ok(())
}
