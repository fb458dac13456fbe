//! The cgroup folders below which the kubelets put their pods. Both hierarchies are known: one
//! folder in each controller of version 1, one folder in the unified tree of version 2.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use walkdir::WalkDir;

use crate::until::until;

const MOUNT: &str = "/sys/fs/cgroup";
/// The folder of everything ours.
pub const ROOT: &str = "sequencer-e2e";

/// The folders of `ROOT` in every hierarchy, there or not.
///
/// # Errors
/// The mount cannot be read.
pub fn roots() -> Result<Vec<PathBuf>> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return Ok(vec![mount.join(ROOT)]);
    }

    let mut roots = Vec::new();

    for entry in std::fs::read_dir(mount).with_context(|| format!("cannot read {MOUNT}"))? {
        let entry = entry?;
        // Links like cpuacct -> cpu,cpuacct lead to the same folder twice.
        if entry.file_type()?.is_dir() {
            roots.push(entry.path().join(ROOT));
        }
    }

    Ok(roots)
}

/// Makes the node's folder in every hierarchy, empty: what its pods left there when they died with
/// their supervisor would keep the next kubelet waiting, three seconds for each folder.
///
/// # Errors
/// A folder cannot be made, or one of before is still in use.
pub fn make(node: &str) -> Result<()> {
    for root in roots()? {
        remove_all(&root.join(node))?;
        if let Some(mount) = root
            .parent()
            .filter(|mount| mount.join(CONTROLLERS).exists())
        {
            std::fs::create_dir_all(&root)
                .with_context(|| format!("cannot make {}", root.display()))?;
            delegate(mount, &root)?;
        }

        for folder in [root.clone(), root.join(node)] {
            if !folder.exists() {
                std::fs::create_dir(&folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            // A version 1 cpuset is empty at first, and takes no process until it is told which it
            // may use.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (own, parent) = (
                    folder.join(file),
                    folder.parent().map(|parent| parent.join(file)),
                );
                if let Some(parent) = parent.filter(|parent| parent.exists() && own.exists()) {
                    let allowed = std::fs::read_to_string(&parent)?;
                    std::fs::write(&own, allowed.trim())
                        .with_context(|| format!("cannot write {}", own.display()))?;
                }
            }
        }
    }
    Ok(())
}

const CONTROLLERS: &str = "cgroup.controllers";
/// What a kubelet wants to find in the folder that it is given.
const WANTED: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// In version 2 a folder has only the controllers that its parent hands down: the mount hands ours
/// those that it has, and ours hands them to the nodes'.
fn delegate(mount: &Path, root: &Path) -> Result<()> {
    let there = std::fs::read_to_string(mount.join(CONTROLLERS))?;
    let there: Vec<_> = there
        .split_whitespace()
        .filter(|name| WANTED.contains(name))
        .map(|name| format!("+{name}"))
        .collect();

    for folder in [mount, root] {
        let control = folder.join("cgroup.subtree_control");
        std::fs::write(&control, there.join(" "))
            .with_context(|| format!("cannot write {}", control.display()))?;
    }

    Ok(())
}

/// Removes them all.
///
/// # Errors
/// A folder stays busy for ten seconds.
pub fn remove() -> Result<()> {
    roots()?.iter().try_for_each(|root| remove_all(root))
}

/// Removes a folder, the deepest first. One whose last process is just ending is busy for a moment.
fn remove_all(folder: &Path) -> Result<()> {
    let folders = WalkDir::new(folder)
        .contents_first(true)
        .into_iter()
        .filter_map(Result::ok);
    for entry in folders.filter(|entry| entry.file_type().is_dir()) {
        let path = entry.path();
        until(
            &format!("{} can be removed", path.display()),
            Duration::from_secs(10),
            || match std::fs::remove_dir(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
        )?;
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_hands_down_the_wanted_controllers_that_the_mount_has() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path().join(ROOT);
        std::fs::create_dir(&root).unwrap();
        std::fs::write(
            mount.path().join(CONTROLLERS),
            "cpuset cpu io memory rdma pids\n",
        )
        .unwrap();
        delegate(mount.path(), &root).unwrap();
        for folder in [mount.path(), &root] {
            let control = std::fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap();
            assert_eq!(control, "+cpuset +cpu +io +memory +pids");
        }
    }
}
