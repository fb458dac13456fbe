//! A reader's shell: kubectl and helm of the cluster on `PATH`, its kubeconfig, and a folder.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use lab::cluster::Cluster;
use lab::layout::{text, without_proxy};

/// Tells which command failed, as the page has it, and takes what runs in the background along.
const TRAPS: &str = r#"
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"#;

/// Returns a shell that runs this script in this folder and ends at the first command that fails.
pub(crate) fn shell(cluster: &Cluster, folder: &Path, script: &str) -> Result<Command> {
    let path = format!(
        "{}:{}",
        text(cluster.layout.bin("")),
        std::env::var("PATH")?
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", &format!("{TRAPS}{script}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("KUBECONFIG", cluster.layout.kubeconfig());

    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        shell.env(variable, folder.join("helm"));
    }

    without_proxy(&mut shell);
    Ok(shell)
}
