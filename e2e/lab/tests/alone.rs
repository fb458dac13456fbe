//! Parts without a cluster.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::alone::Alone;
use lab::layout::text;
use lab::process::output;
use lab::testing::layout;

#[test]
fn a_control_plane_and_nats_serve_within_six_seconds_and_leave_nothing() -> Result<()> {
    let layout = layout()?;
    let begun = Instant::now();
    let mut alone = Alone::new(&layout)?;
    let kubeconfig = text(alone.control_plane()?);
    let nats = alone.nats()?;
    let took = begun.elapsed();

    let kubectl = |args: &[&str]| {
        output(
            Command::new(layout.bin("kubectl"))
                .args(["--kubeconfig", &kubeconfig])
                .args(args),
        )
    };

    kubectl(&["create", "configmap", "thing", "--from-literal=key=value"])?;
    assert_eq!(
        kubectl(&["get", "configmap", "thing", "-o", "jsonpath={.data.key}"])?,
        "value"
    );

    let greeting = Command::new("curl")
        .args(["-s", "-m", "1", "--noproxy", "*"])
        .arg(nats.replace("nats:", "telnet:"))
        .output()?;

    ensure!(
        String::from_utf8_lossy(&greeting.stdout).contains("\"jetstream\":true"),
        "NATS greets without JetStream"
    );

    let (folder, address) = (alone.folder().to_path_buf(), alone.address.to_string());
    drop(alone);
    ensure!(!folder.exists(), "{} is left", folder.display());
    let left = output(Command::new("ss").args(["-Hltn", "src", &address]))?;
    ensure!(left.is_empty(), "still listening: {left}");
    ensure!(took < Duration::from_secs(6), "it took {took:?}");
    Ok(())
}
