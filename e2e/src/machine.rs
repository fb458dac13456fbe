//! What the machine must have before anything is changed on it. Each message says the line that mends it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sys::statvfs::statvfs;

use crate::install::go;
use crate::layout::Layout;
use crate::process::output;

const GIB: u64 = 1 << 30;

/// What a cluster writes below its state folder: images on two nodes, registries, logs.
const STATE_NEEDS: u64 = 6 * GIB;
/// What a cold cache takes: Go's own build cache, the programs, the images.
const CACHE_NEEDS: u64 = 6 * GIB;
/// Programs that every Debian has and that no package of ours brings.
const PROGRAMS: [&str; 6] = ["apt-get", "dpkg-query", "nsenter", "setsid", "unshare", "python3"];

/// Checks the machine: root, Debian, Go, disk. Nothing is changed.
///
/// # Errors
/// Something is missing.
pub fn check(layout: &Layout) -> Result<()> {
    check_root()?;
    for program in PROGRAMS {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).exists());
        ensure!(
            found,
            "{program} is missing: this needs Debian 12 with apt and util-linux (apt-get install util-linux python3)"
        );
    }
    go::version()?;
    let empty = !layout.cache.join("tools").exists();
    check_disk("SEQUENCER_E2E_STATE", &layout.state, STATE_NEEDS)?;
    check_disk("SEQUENCER_E2E_CACHE", &layout.cache, if empty { CACHE_NEEDS } else { GIB })
}

/// Checks that we are root: namespaces, mounts and cgroups need it.
///
/// # Errors
/// We are not.
pub fn check_root() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "this needs root, for namespaces, mounts and cgroups: run it with sudo");
    Ok(())
}

fn check_disk(variable: &str, folder: &Path, needs: u64) -> Result<()> {
    let there = folder.ancestors().find(|ancestor| ancestor.exists()).context("there is no root folder")?;
    let disk = statvfs(there).with_context(|| format!("cannot look at the disk of {}", there.display()))?;
    let free = disk.blocks_available() * disk.fragment_size();
    ensure!(
        free >= needs,
        "{} has {:.1} GiB free and needs {:.1}: make room, or set {variable} to a folder on a larger disk",
        folder.display(),
        free as f64 / GIB as f64,
        needs as f64 / GIB as f64,
    );
    Ok(())
}

/// The kernel settings that a kubelet changes for the whole machine.
const SETTINGS: [&str; 6] = [
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
];

/// Writes down the machine's kernel settings, unless an earlier `up` has.
///
/// # Errors
/// They cannot be read or written down.
pub fn save_settings(layout: &Layout) -> Result<()> {
    let file = layout.state.join("kernel-settings");
    if !file.exists() {
        let half = file.with_extension("new");
        std::fs::write(&half, output(std::process::Command::new("sysctl").args(SETTINGS))?)?;
        std::fs::rename(half, file)?;
    }
    Ok(())
}

/// Gives the machine its kernel settings back.
///
/// # Errors
/// They cannot be set.
pub fn restore_settings(layout: &Layout) -> Result<()> {
    let file = layout.state.join("kernel-settings");
    if file.exists() {
        output(std::process::Command::new("sysctl").arg("-q").arg("-p").arg(&file))?;
        std::fs::remove_file(file)?;
    }
    Ok(())
}
