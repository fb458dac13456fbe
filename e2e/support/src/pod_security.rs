//! Kubernetes' own cases of the Pod Security Standards, by which its admission is tested. They come
//! with its Go module, of the version that the lab's cluster is of.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const MODULE: &str = "k8s.io/pod-security-admission";

/// A pod, and whether a level lets it in.
#[derive(Clone, Debug)]
pub struct Case {
    /// `baseline` or `restricted`.
    pub level: &'static str,
    /// As its file is called.
    pub name: String,
    pub pod: Value,
    pub passes: bool,
}

/// All cases of the newest version of the standards. `repository` is this one's folder.
///
/// # Errors
/// Go is missing, or neither has the module nor reaches a proxy that does.
pub fn cases(repository: &Path) -> Result<Vec<Case>> {
    let data = module(repository)?.join("test/testdata");
    let mut cases = Vec::new();

    for level in ["baseline", "restricted"] {
        let newest = newest(&data.join(level))?;
        for (folder, passes) in [("pass", true), ("fail", false)] {
            for file in std::fs::read_dir(newest.join(folder))? {
                let path = file?.path();
                let pod = serde_yaml::from_str(&std::fs::read_to_string(&path)?)?;
                let name = path.file_stem().context("no name")?;
                cases.push(Case {
                    level,
                    name: name.to_string_lossy().into_owned(),
                    pod,
                    passes,
                });
            }
        }
    }

    ensure!(!cases.is_empty(), "no cases in {}", data.display());
    Ok(cases)
}

fn module(repository: &Path) -> Result<PathBuf> {
    let found = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(repository.join("e2e/tools/kubernetes"))
        .env("GOWORK", "off")
        .output()?;
    let said = String::from_utf8_lossy(&found.stderr);
    ensure!(found.status.success(), "no {MODULE}: {said}");
    let found: Value = serde_json::from_slice(&found.stdout)?;
    let folder = found.get("Dir").and_then(Value::as_str);
    let folder = folder.context("no Dir")?;
    Ok(folder.into())
}

/// The folder of the newest version: `v1.35` is newer than `v1.9`.
fn newest(folder: &Path) -> Result<PathBuf> {
    let minor = |path: &PathBuf| -> Option<u32> {
        path.file_name()?
            .to_str()?
            .strip_prefix("v1.")?
            .parse()
            .ok()
    };
    let folders: std::io::Result<Vec<_>> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let newest = folders?.into_iter().max_by_key(minor);
    newest.with_context(|| format!("{} is empty", folder.display()))
}
