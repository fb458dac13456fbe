//! What the machine must have before anything is changed on it. Each message says the line that
//! mends it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::sys::statvfs::statvfs;

use crate::install::go;
use crate::layout::Layout;
use crate::network::COVERED;
use crate::process::output;

const GIB: u64 = 1 << 30;

/// What a cluster writes below its state folder: images on two nodes, registries, logs.
const STATE_NEEDS: u64 = 6 * GIB;
/// What a cold cache takes: Go's own build cache, the programs, the images.
const CACHE_NEEDS: u64 = 6 * GIB;
/// Programs that every Debian has and that no package of ours brings.
const PROGRAMS: [&str; 7] = [
    "apt-get",
    "dpkg-query",
    "ip",
    "nsenter",
    "python3",
    "setsid",
    "unshare",
];

/// Checks the machine: root, Debian, Go, disk. Nothing is changed.
///
/// # Errors
/// Something is missing.
pub fn check(layout: &Layout) -> Result<()> {
    check_root()?;
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "this needs an x86_64 machine: its pinned programs are built for that"
    );
    ensure!(
        layout.state.as_os_str().len() <= 80,
        "{} is too long for the sockets below it: set SEQUENCER_E2E_STATE to a path of at most 80 bytes",
        layout.state.display()
    );

    for program in PROGRAMS {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).exists());
        ensure!(
            found,
            "{program} is missing: this needs Debian 12 with apt and a few basics (apt-get install util-linux iproute2 python3)"
        );
    }

    go::version()?;
    let empty = !layout.cache.join("tools").exists();
    check_disk("SEQUENCER_E2E_STATE", &layout.state, STATE_NEEDS)?;
    check_disk(
        "SEQUENCER_E2E_CACHE",
        &layout.cache,
        if empty { CACHE_NEEDS } else { GIB },
    )
}

/// Checks that we are root: namespaces, mounts and cgroups need it.
///
/// # Errors
/// We are not.
pub fn check_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "this needs root, for namespaces, mounts and cgroups: run it with sudo"
    );
    Ok(())
}

fn check_disk(variable: &str, folder: &Path, needs: u64) -> Result<()> {
    let there = folder
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .context("there is no root folder")?;
    let disk = statvfs(there)
        .with_context(|| format!("cannot look at the disk of {}", there.display()))?;
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
        std::fs::write(
            &half,
            output(std::process::Command::new("sysctl").args(SETTINGS))?,
        )?;
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
        output(
            std::process::Command::new("sysctl")
                .arg("-q")
                .arg("-p")
                .arg(&file),
        )?;
        std::fs::remove_file(file)?;
    }

    Ok(())
}

/// Where the list of folders is that were made on the machine.
fn made(layout: &Layout) -> PathBuf {
    layout.state.join("made-folders")
}

/// Makes the folders over which a node's own are laid, where the machine lacks them.
///
/// # Errors
/// They cannot be made or written down.
pub fn make_folders(layout: &Layout) -> Result<()> {
    let missing: Vec<_> = COVERED
        .iter()
        .filter(|folder| !Path::new(folder).exists())
        .copied()
        .collect();
    if !missing.is_empty() {
        // Before they are made: an interrupt leaves none that `down` does not know.
        let known = std::fs::read_to_string(made(layout)).unwrap_or_default();
        std::fs::write(made(layout), format!("{known}{}\n", missing.join("\n")))?;
        missing.iter().try_for_each(std::fs::create_dir_all)?;
    }

    Ok(())
}

/// Removes the folders that were made, unless somebody put something into them.
///
/// # Errors
/// One cannot be removed.
pub fn remove_folders(layout: &Layout) -> Result<()> {
    for folder in std::fs::read_to_string(made(layout))
        .unwrap_or_default()
        .lines()
    {
        match std::fs::remove_dir(folder) {
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) =>
            {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(())
}
