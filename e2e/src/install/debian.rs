//! Debian packages, and root file systems made of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::{Key, cached};
use crate::layout::{Layout, text};
use crate::process::{logged, output};

/// While packages are installed this file forbids their daemons to start (invoke-rc.d reads it).
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID: &str = "#!/bin/sh\n# Made by e2e/up while it installs packages.\nexit 101\n";

/// Installs what `e2e/tools/debian/packages.txt` lists and the machine lacks. No daemon of it starts, now or later.
///
/// # Errors
/// apt fails.
pub fn install(layout: &Layout) -> Result<()> {
    let list = layout.repository.join("e2e/tools/debian/packages.txt");
    let list = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let wanted: Vec<_> = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let missing: Vec<_> = wanted.into_iter().filter(|pin| !is_installed(pin)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let log = layout.logs().join("apt.log");
    allow_daemons()?;
    let _forbidden = Forbidden::new()?;
    let quiet = |program: &str| {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // An installation that was interrupted earlier is completed first.
    logged(quiet("dpkg").args(["--configure", "-a"]), &log)?;
    logged(quiet("apt-get").args(["-y", "update"]), &log)?;
    let any = |pin: &&str| pin.strip_suffix("=*").unwrap_or(pin).to_owned();
    let pins = missing.iter().map(any);
    logged(quiet("apt-get").args(["install", "-y", "--no-install-recommends"]).args(pins), &log)?;
    if Path::new("/run/systemd/system").exists() {
        let daemons = ["containerd", "named", "lighttpd", "ssh"];
        logged(Command::new("systemctl").args(["disable", "--now"]).args(newly(&missing, &daemons)), &log)?;
    }
    Ok(())
}

/// The units among `daemons` whose packages were just installed: a machine that had them keeps them as they were.
fn newly(missing: &[&str], daemons: &[&'static str]) -> Vec<&'static str> {
    let package = |unit: &str| match unit {
        "named" => "bind9".to_owned(),
        "ssh" => "openssh-server".to_owned(),
        other => other.to_owned(),
    };
    daemons
        .iter()
        .filter(|unit| missing.iter().any(|pin| pin.starts_with(&format!("{}=", package(unit)))))
        .copied()
        .collect()
}

fn is_installed(pin: &str) -> bool {
    let (name, version) = pin.split_once('=').unwrap_or((pin, "*"));
    let said = output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Version}", name]));
    let prefix = version.trim_end_matches('*');
    said.is_ok_and(|said| said.strip_prefix("installed ").is_some_and(|found| found.starts_with(prefix)))
}

/// Removes the policy file if an installation of ours was interrupted and left it.
///
/// # Errors
/// It cannot be removed.
pub fn allow_daemons() -> Result<()> {
    if std::fs::read_to_string(POLICY).is_ok_and(|content| content == FORBID) {
        std::fs::remove_file(POLICY)?;
    }
    Ok(())
}

/// The policy file, for as long as this value lives. A machine that has one of its own keeps it.
struct Forbidden {
    made: bool,
}

impl Forbidden {
    fn new() -> Result<Self> {
        let made = !Path::new(POLICY).exists();
        if made {
            std::fs::write(POLICY, FORBID)?;
            std::fs::set_permissions(POLICY, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        Ok(Self { made })
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        if self.made {
            drop(allow_daemons());
        }
    }
}

/// A root file system (a tar with extended attributes) of Debian's smallest set and these packages, from the cache or
/// made now with this machine's own apt sources. `hooks` are commands that run in it at the end.
///
/// # Errors
/// mmdebstrap fails.
pub fn root(layout: &Layout, name: &str, packages: &[&str], hooks: &[&str]) -> Result<PathBuf> {
    let key = Key::default().words(["bookworm", "minbase"]).words(packages).words(hooks);
    let made = cached(&layout.cache, "roots", name, key, |half| {
        let mut command = Command::new("mmdebstrap");
        command.args(["--variant=minbase", "--format=tar", &format!("--include={}", packages.join(","))]);
        command.arg(r#"--dpkgopt=path-exclude=/usr/share/man/*"#).arg("--dpkgopt=path-exclude=/usr/share/doc/*");
        command.arg("--dpkgopt=path-exclude=/usr/share/locale/*");
        for hook in hooks {
            command.arg(format!("--customize-hook={hook}"));
        }
        command.arg("bookworm").arg(half.join("root.tar"));
        command.args(sources()?);
        logged(&mut command, &layout.logs().join(format!("root-{name}.log")))
    })?;
    Ok(made.join("root.tar"))
}

/// This machine's own apt sources that name Debian 12.
fn sources() -> Result<Vec<String>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.filter_map(|entry| Some(entry.ok()?.path())));
    }
    // Other vendors' sources may name the release too; only Debian's own have it as a suite with the section main.
    let is_debian = |content: &str| {
        let one_line = content.lines().any(|line| line.starts_with("deb ") && line.contains(" bookworm main"));
        one_line || content.lines().any(|line| line.starts_with("Suites:") && line.contains("bookworm"))
    };
    files.retain(|file| std::fs::read_to_string(file).is_ok_and(|content| is_debian(&content)));
    anyhow::ensure!(
        !files.is_empty(),
        "no apt source of this machine names Debian 12 (bookworm): add Debian's own to /etc/apt/sources.list"
    );
    Ok(files.iter().map(text).collect())
}
