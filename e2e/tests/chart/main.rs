//! The chart, rendered and on a real API server; and NATS as it installs it.

mod admission;
mod install;
mod nats;
mod render;
mod rights;
mod server;
mod shapes;
mod values;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::layout::text;
use lab::release::{NAME, NAMESPACE};
use lab::testing::layout;
use serde_yaml::Value;

fn chart() -> Result<PathBuf> {
    Ok(layout()?.repository.join("charts/sequencer"))
}

fn helm() -> Result<Command> {
    Ok(Cluster::new(layout()?).helm())
}

/// What a command prints, and whether it succeeded.
fn said(command: &mut Command, input: &str) -> Result<(bool, String)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let input = input.to_owned();
    let writer =
        std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    let done = child.wait_with_output()?;

    drop(writer.join());
    let said = [done.stdout, done.stderr].concat();
    Ok((
        done.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// What `helm template` says to these values. There is no cluster to look at: its id is one of
/// them.
fn template(values: &str) -> Result<(bool, String)> {
    let mut helm = helm()?;
    helm.args([
        "template",
        NAME,
        &text(chart()?),
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.36.3",
    ]);

    let id = if values.contains("clusterId") {
        ""
    } else {
        "clusterId: test\n"
    };

    said(helm.args(["--values", "-"]), &format!("{id}{values}\n"))
}

/// Everything that the chart makes with these values.
fn objects(values: &str) -> Result<Vec<Value>> {
    let (rendered, said) = template(values)?;
    ensure!(rendered, "{said}");
    let documents = serde_yaml::Deserializer::from_str(&said).map(serde::Deserialize::deserialize);
    let objects: Vec<Value> = documents.collect::<Result<_, _>>()?;

    Ok(objects
        .into_iter()
        .filter(|object| !object.is_null())
        .collect())
}

/// A field of an object by the keys on the way to it.
fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    static NULL: Value = Value::Null;
    path.iter()
        .fold(object, |value, key| value.get(*key).unwrap_or(&NULL))
}

fn word<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}
