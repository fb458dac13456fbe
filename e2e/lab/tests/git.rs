//! The server that plays github.com.

use std::process::Command;

use anyhow::{Result, ensure};
use lab::cluster::Cluster;
use lab::layout::text;
use lab::parts::git;
use lab::secrets::Secrets;
use lab::testing::layout;
use tempfile::TempDir;

struct Clone {
    cluster: Cluster,
    folder: TempDir,
}

impl Clone {
    fn new() -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let folder = tempfile::tempdir()?;
        std::fs::write(
            folder.path().join("known_hosts"),
            git::known_hosts(&cluster.layout)?,
        )?;
        Ok(Self { cluster, folder })
    }

    fn command(&self, url: &str) -> Result<Command> {
        let into = text(self.folder.path().join("clone"));
        let helper =
            "credential.helper=!f() { echo username=x-access-token; echo password=$TOKEN; }; f";
        let clone = [
            "git",
            "-c",
            helper,
            "clone",
            "--quiet",
            "--branch",
            git::BRANCH,
            url,
            &into,
        ];
        let mut git = self.cluster.general.command(&clone)?;
        git.env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("LC_ALL", "C");
        Ok(git)
    }

    /// Clones over ssh with strict checking of the host key.
    fn ssh(&self, key: &str, known_hosts: &str) -> Result<Command> {
        let mut git = self.command("git@github.com:myuser/myapp.git")?;
        let options = "-o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes";
        git.env(
            "GIT_SSH_COMMAND",
            format!("ssh -F /dev/null {options} -o UserKnownHostsFile={known_hosts} -i {key}"),
        );
        Ok(git)
    }

    fn https(&self, token: &str) -> Result<Command> {
        let mut git = self.command("https://github.com/myuser/myapp.git")?;
        git.env("TOKEN", token);
        Ok(git)
    }

    fn succeed(&self, mut git: Command) -> Result<()> {
        let done = git.output()?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        ensure!(
            self.folder.path().join("clone/Dockerfile").exists(),
            "the branch has no Dockerfile"
        );
        Ok(())
    }

    fn fail(&self, mut git: Command, because: &str) -> Result<()> {
        let done = git.output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();

        ensure!(
            !done.status.success() && said.contains(because),
            "expected {because:?}, got {}: {said}",
            done.status
        );
        Ok(())
    }
}

#[test]
fn ssh_gives_the_branch_with_strict_host_key_checking() -> Result<()> {
    let clone = Clone::new()?;
    let known_hosts = text(clone.folder.path().join("known_hosts"));
    clone.succeed(clone.ssh(&text(git::deploy_key(&clone.cluster.layout)), &known_hosts)?)
}

#[test]
fn ssh_refuses_a_key_that_is_not_the_deploy_key() -> Result<()> {
    let clone = Clone::new()?;
    let known_hosts = text(clone.folder.path().join("known_hosts"));
    let key = text(clone.folder.path().join("key"));

    Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", &key])
        .status()?;

    clone.fail(
        clone.ssh(&key, &known_hosts)?,
        "Permission denied (publickey)",
    )
}

#[test]
fn ssh_refuses_a_host_whose_key_is_unknown() -> Result<()> {
    let clone = Clone::new()?;
    clone.fail(
        clone.ssh(&text(git::deploy_key(&clone.cluster.layout)), "/dev/null")?,
        "Host key verification failed",
    )
}

#[test]
fn https_gives_the_branch_with_the_token() -> Result<()> {
    let clone = Clone::new()?;
    let secrets = Secrets::ensure(&clone.cluster.layout)?;
    clone.succeed(clone.https(&secrets.git_token)?)
}

#[test]
fn https_refuses_another_token() -> Result<()> {
    let clone = Clone::new()?;
    clone.fail(clone.https("ghp_wrong")?, "Authentication failed")
}
