//! A repository of a test's own at the server that plays github.com.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use lab::layout::{Layout, text};
use lab::parts::git::USER;
use lab::process::output;
use tempfile::TempDir;

/// It goes with the value.
pub(crate) struct Repository {
    owner: PathBuf,
    bare: PathBuf,
    work: TempDir,
    name: String,
}

impl Repository {
    /// With one commit of these files on `main`.
    pub(crate) fn new(layout: &Layout, files: &[(&str, &str)]) -> Result<Self> {
        let work = TempDir::with_prefix("repository-")?;
        let name = text(work.path().file_name().unwrap_or_default());
        let owner = layout.data("git").join(&name);
        let bare = owner.join("app.git");
        let repository = Self {
            owner,
            bare,
            work,
            name,
        };

        output(
            Command::new("git")
                .args(["init", "--quiet", "--bare", "--initial-branch=main"])
                .arg(&repository.bare),
        )?;
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        repository.commit("main", files)?;
        Ok(repository)
    }

    /// Puts these files on a branch or full ref, and returns the commit.
    pub(crate) fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Result<String> {
        for (name, content) in files {
            let path = self.work.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            drop(std::fs::remove_file(&path));
            match content.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path)?,
                None => std::fs::write(path, content)?,
            }
        }

        self.git(&["add", "--all"])?;
        self.git(&[
            "-c",
            "user.name=e2e",
            "-c",
            "user.email=e2e@preview.test",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message=A change",
        ])?;
        self.git(&[
            "push",
            "--quiet",
            "--force",
            &text(&self.bare),
            &format!("HEAD:{}", full(branch)),
        ])?;

        output(
            Command::new("chown")
                .args(["-R", &format!("{USER}:{USER}")])
                .arg(&self.owner),
        )?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().into())
    }

    /// As a Workspace names it.
    pub(crate) fn url(&self) -> String {
        format!("git@github.com:{}/app.git", self.name)
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        let config = self.bare.with_extension("config");
        std::fs::write(&config, "[safe]\n\tdirectory = *\n")?;
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", config)
            .arg("-C")
            .arg(self.work.path())
            .args(args);
        output(&mut git)
    }
}

fn full(reference: &str) -> String {
    if reference.starts_with("refs/") {
        reference.into()
    } else {
        format!("refs/heads/{reference}")
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.owner));
    }
}
