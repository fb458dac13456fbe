//! The server that plays github.com: the same repositories over ssh with a deploy key, and over
//! https with a token.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use minijinja::context;
use walkdir::WalkDir;

use crate::layout::{GIT, Layout, at, text, write_private};
use crate::part::{Part, Ready};
use crate::process::output;
use crate::secrets::Secrets;

/// The user that owns the repositories inside the cluster's namespaces; no user of the host has
/// this number.
pub const USER: u32 = 20100;
/// The sample's repository below the server's root.
pub const REPOSITORY: &str = "myuser/myapp.git";
pub const BRANCH: &str = "PR-2303-my-feature-branch";

/// The deploy key's file.
#[must_use]
pub fn deploy_key(layout: &Layout) -> PathBuf {
    layout.pki("deploy-key")
}

/// The server's host key as a line of known_hosts.
///
/// # Errors
/// The key was not made yet.
pub fn known_hosts(layout: &Layout) -> Result<String> {
    Ok(format!(
        "github.com {}",
        std::fs::read_to_string(layout.pki("git-host-key.pub"))?
    ))
}

/// The bare repository's folder on the host.
#[must_use]
pub fn repository(layout: &Layout) -> PathBuf {
    layout.data("git").join(REPOSITORY)
}

/// The ssh server and the https server. Keys and the sample's repository are made if there are
/// none.
///
/// # Errors
/// A key or file cannot be made.
pub fn parts(layout: &Layout, secrets: &Secrets) -> Result<Vec<Part>> {
    for key in ["git-host-key", "deploy-key"] {
        if !layout.pki(&format!("{key}.pub")).exists() {
            let file = text(layout.pki(key));

            // A key without its public half is what an interrupt left.
            if layout.pki(key).exists() {
                std::fs::remove_file(layout.pki(key))?;
            }

            output(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", &file]),
            )?;
        }
    }

    seed(layout)?;
    Ok(vec![ssh(layout)?, https(layout, secrets)?])
}

fn ssh(layout: &Layout) -> Result<Part> {
    let authorized = layout.etc().join("authorized_keys");
    std::fs::copy(layout.pki("deploy-key.pub"), &authorized)?;

    let values = context! {
        address => GIT.to_string(), host_key => text(layout.pki("git-host-key")), authorized_keys => text(&authorized),
    };

    let config = layout.configure("sshd_config", "sshd_config", values)?;
    // sshd wants this folder for its unprivileged half. It lies on the namespace's own /run.
    let script = format!(
        "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f {}",
        text(&config)
    );

    Part::new(
        "git-ssh",
        "/bin/sh",
        ["-c".into(), script],
        Ready::Tcp(at(GIT, 22)),
    )
    .reads([config, authorized])
}

fn https(layout: &Layout, secrets: &Secrets) -> Result<Part> {
    let users = layout.etc().join("git-users");
    // GitHub looks at the password only; these are the user names that clients send with a token.
    let names = ["x-access-token", "oauth2", "git", "myuser"];
    let lines: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", secrets.git_token))
        .collect();
    write_private(&users, lines)?;
    chown(&users, Some(USER), Some(USER))?;
    let uploads = layout.data("git-uploads");
    std::fs::create_dir_all(&uploads)?;
    chown(&uploads, Some(USER), Some(USER))?;
    let values = context! {
        address => GIT.to_string(), certificate => text(layout.pki("git.crt")), key => text(layout.pki("git.key")),
        users => text(&users), uploads => text(uploads), repositories => text(layout.data("git")),
    };
    let config = layout.configure("lighttpd.conf", "lighttpd.conf", values)?;
    let args = ["-D".into(), "-f".into(), text(&config)];
    Part::new(
        "git-https",
        "/usr/sbin/lighttpd",
        args,
        Ready::Tcp(at(GIT, 443)),
    )
    .reads([config, users])
}

/// Makes the sample's repository with one commit of `e2e/apps/click`, on `main` and on the sample's
/// branch.
fn seed(layout: &Layout) -> Result<()> {
    let repository = repository(layout);
    if repository.exists() {
        return Ok(());
    }

    let half = layout.data("git.new");
    if half.exists() {
        std::fs::remove_dir_all(&half)?;
    }

    let bare = half.join(REPOSITORY);
    std::fs::create_dir_all(&bare)?;
    let app = layout.repository.join("e2e/apps/click");
    git(
        &bare,
        &app,
        &["init", "--quiet", "--bare", "--initial-branch=main"],
    )?;
    git(&bare, &app, &["add", "--all"])?;
    git(
        &bare,
        &app,
        &["commit", "--quiet", "--message=Count clicks"],
    )?;
    git(&bare, &app, &["branch", BRANCH])?;
    // As on GitHub, the ending may be left out.
    std::os::unix::fs::symlink("myapp.git", bare.with_extension(""))?;
    for entry in WalkDir::new(&half) {
        std::os::unix::fs::lchown(entry?.path(), Some(USER), Some(USER))?;
    }

    std::fs::rename(half, layout.data("git"))?;
    Ok(())
}

fn git(bare: &Path, tree: &Path, args: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1");

    // A fixed author and date: the same sources are the same commit on every machine.
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "e2e")
            .env(format!("GIT_{role}_EMAIL"), "e2e@preview.test");
        git.env(format!("GIT_{role}_DATE"), "2026-01-01T00:00:00Z");
    }

    git.env("GIT_DIR", bare);
    if args.first() != Some(&"init") {
        git.env("GIT_WORK_TREE", tree);
    }

    output(git.current_dir(tree).args(args))
}
