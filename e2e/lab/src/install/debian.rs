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

/// Installs what `e2e/tools/debian/packages.txt` lists and the machine lacks. No daemon of it
/// starts, now or later.
///
/// # Errors
/// apt fails.
pub fn install(layout: &Layout) -> Result<()> {
    allow_daemons()?;
    disable_daemons(layout)?;
    let list = layout.repository.join("e2e/tools/debian/packages.txt");
    let list = std::fs::read_to_string(&list)
        .with_context(|| format!("cannot read {}", list.display()))?;
    let wanted = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let missing: Vec<_> = wanted.filter(|pin| !is_installed(pin)).collect();
    if missing.is_empty() {
        return Ok(());
    }

    let log = log(layout);
    let _forbidden = Forbidden::new()?;

    note_daemons(layout)?;

    let quiet = |program: &str| {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };

    // An installation that was interrupted earlier is completed first. On a fresh machine apt's own
    // timers may hold its lock for a while.
    logged(quiet("dpkg").args(["--configure", "-a"]), &log)?;
    let patient = ["-y", "-o", "DPkg::Lock::Timeout=300"];
    logged(quiet("apt-get").args(patient).arg("update"), &log)?;

    let pins = missing
        .iter()
        .map(|pin| pin.strip_suffix("=*").unwrap_or(pin));
    let mut install = quiet("apt-get");
    install
        .args(patient)
        .args(["install", "--no-install-recommends", "--no-remove"])
        .args(pins);

    logged(&mut install, &log).context(
        "where it would have to remove packages (docker-ce brings a containerd of its own), remove them yourself or use another machine",
    )?;
    disable_daemons(layout)
}

/// Where apt's output goes.
pub(super) fn log(layout: &Layout) -> PathBuf {
    layout.logs().join("apt.log")
}

/// Packages that bring a daemon, and its unit.
const DAEMONS: [(&str, &str); 4] = [
    ("bind9", "named"),
    ("containerd", "containerd"),
    ("lighttpd", "lighttpd"),
    ("openssh-server", "ssh"),
];

/// Where the units are written down that are about to be installed.
fn noted(layout: &Layout) -> PathBuf {
    layout.state.join("new-daemons")
}

/// Writes down which daemons this machine does not have yet. Those that it has stay as they are.
fn note_daemons(layout: &Layout) -> Result<()> {
    let absent = |package: &str| output(Command::new("dpkg-query").args(["-W", package])).is_err();
    let units = DAEMONS
        .iter()
        .filter(|(package, _)| absent(package))
        .map(|(_, unit)| format!("{unit}\n"));
    Ok(std::fs::write(noted(layout), units.collect::<String>())?)
}

/// Keeps the daemons that were written down from starting with the machine.
fn disable_daemons(layout: &Layout) -> Result<()> {
    let units = std::fs::read_to_string(noted(layout)).unwrap_or_default();
    let units: Vec<_> = units.lines().collect();
    if !units.is_empty() && Path::new("/run/systemd/system").exists() {
        output(
            Command::new("systemctl")
                .args(["disable", "--now"])
                .args(units),
        )?;
    }

    if noted(layout).exists() {
        std::fs::remove_file(noted(layout))?;
    }

    Ok(())
}

fn is_installed(pin: &str) -> bool {
    let (name, version) = pin.split_once('=').unwrap_or((pin, "*"));
    let said = output(Command::new("dpkg-query").args([
        "-W",
        "-f",
        "${db:Status-Status} ${Version}",
        name,
    ]));
    let prefix = version.trim_end_matches('*');

    said.is_ok_and(|said| {
        said.strip_prefix("installed ")
            .is_some_and(|found| found.starts_with(prefix))
    })
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

/// A root file system (a tar with extended attributes) of Debian's smallest set and these packages,
/// from the cache or made now with this machine's own apt sources. `hooks` are commands that run in
/// it at the end.
///
/// # Errors
/// mmdebstrap fails.
pub fn root(layout: &Layout, name: &str, packages: &[&str], hooks: &[&str]) -> Result<PathBuf> {
    let key = Key::default()
        .words(["bookworm", "minbase"])
        .words(packages)
        .words(hooks);
    let made = cached(&layout.cache, "roots", name, key, |half| {
        // Its mounts and its working folder go with it, however it ends.
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "mmdebstrap"])
            .env("TMPDIR", half);
        command.args([
            "--variant=minbase",
            "--format=tar",
            &format!("--include={}", packages.join(",")),
        ]);
        command
            .arg(r#"--dpkgopt=path-exclude=/usr/share/man/*"#)
            .arg("--dpkgopt=path-exclude=/usr/share/doc/*");
        command.arg("--dpkgopt=path-exclude=/usr/share/locale/*");
        for hook in hooks {
            command.arg(format!("--customize-hook={hook}"));
        }
        command.arg("bookworm").arg(half.join("root.tar"));
        command.args(sources()?);
        logged(
            &mut command,
            &layout.logs().join(format!("root-{name}.log")),
        )
    })?;
    Ok(made.join("root.tar"))
}

/// This machine's own apt sources of Debian 12.
fn sources() -> Result<Vec<String>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];

    if let Ok(folder) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.filter_map(|entry| Some(entry.ok()?.path())));
    }

    let read = |file: &Path| match file.extension()?.to_str()? {
        "list" => Some(is_debian_list(&std::fs::read_to_string(file).ok()?)),
        "sources" => Some(is_debian_deb822(&std::fs::read_to_string(file).ok()?)),
        _ => None,
    };

    files.retain(|file| read(file).unwrap_or(false));
    anyhow::ensure!(
        !files.is_empty(),
        "no apt source of this machine is Debian 12's (bookworm): add it to /etc/apt/sources.list"
    );
    Ok(files.iter().map(text).collect())
}

/// Whether a file of one-line sources has Debian's own: the suite bookworm with the section main,
/// from a host or path that says Debian (sources.list(5)).
fn is_debian_list(content: &str) -> bool {
    content.lines().any(|line| {
        line.starts_with("deb ") && line.contains("debian") && line.contains(" bookworm main")
    })
}

/// The same for a file of deb822 stanzas.
fn is_debian_deb822(content: &str) -> bool {
    let stanza = |stanza: &str| {
        let field = |name: &str| {
            let lines = stanza.lines().filter_map(|line| line.split_once(':'));
            lines
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
                .next()
        };

        let has = |name: &str, word: &str| {
            field(name).is_some_and(|value| value.split_whitespace().any(|each| each == word))
        };

        has("Suites", "bookworm")
            && has("Components", "main")
            && field("URIs").is_some_and(|uris| uris.contains("debian"))
            && field("Enabled").is_none_or(|enabled| enabled != "no")
    };
    content.split("\n\n").any(stanza)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_sources_are_taken() {
        assert!(is_debian_list(
            "deb http://mirror.example/debian bookworm main contrib\n"
        ));
        assert!(!is_debian_list(
            "# deb http://mirror.example/debian bookworm main\n"
        ));
        assert!(!is_debian_list(
            "deb https://tools.example/apt cloud-bookworm main\n"
        ));

        let own = "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n";
        assert!(is_debian_deb822(own));
        assert!(!is_debian_deb822(&format!("Enabled: no\n{own}")));
        assert!(!is_debian_deb822(
            "Types: deb\nURIs: https://x.example/linux/debian\nSuites: bookworm\nComponents: stable\n"
        ));
    }
}
