//! Programs that are built from Go modules. Each lives in `e2e/tools/<folder>` with its own `go.mod` and `go.sum`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::{Key, cached};
use crate::layout::{Layout, text};
use crate::process::{logged, output};

/// The oldest Go that builds all of them.
const GO: (u32, u32) = (1, 26);

/// A folder below `e2e/tools` and what it gives.
#[derive(Debug)]
pub struct Tool {
    /// The folder's name.
    pub folder: &'static str,
    /// The linker's flags besides `-s -w`.
    ldflags: &'static str,
    /// Pairs of the built file's name and the name it is installed under.
    programs: &'static [(&'static str, &'static str)],
}

/// Every program that the cluster takes from Go modules.
pub const TOOLS: [Tool; 13] = [
    Tool {
        folder: "kubernetes",
        ldflags: "-X k8s.io/component-base/version.gitVersion=v1.36.3",
        programs: &[
            ("kubernetes", "kube-apiserver"),
            ("kubernetes", "kube-controller-manager"),
            ("kubernetes", "kube-scheduler"),
            ("kubernetes", "kube-proxy"),
            ("kubernetes", "kubelet"),
            ("kubernetes", "kubectl"),
        ],
    },
    Tool::plain("etcd", &[("server", "etcd")]),
    Tool::plain("buildkit", &[("buildkitd", "buildkitd"), ("buildctl", "buildctl")]),
    Tool::plain("rootlesskit", &[("rootlesskit", "rootlesskit")]),
    Tool::plain("coredns", &[("coredns", "coredns")]),
    Tool::plain("distribution", &[("registry", "registry")]),
    Tool::plain("nats", &[("nats-server", "nats-server")]),
    Tool::plain("crane", &[("crane", "crane")]),
    Tool::plain("helm", &[("helm", "helm")]),
    Tool::plain("kstatus", &[("kstatus", "kstatus")]),
    Tool::plain("kwok", &[("kwok", "kwok")]),
    Tool::plain("otelcol", &[("otelcol", "otelcol")]),
    Tool::plain("pause", &[("pause", "pause")]),
];

impl Tool {
    const fn plain(folder: &'static str, programs: &'static [(&'static str, &'static str)]) -> Self {
        Self { folder, ldflags: "", programs }
    }

    /// Builds the tool unless the cache has it, and links its programs into the state folder.
    ///
    /// # Errors
    /// The build fails; the text has its log.
    pub fn install(&self, layout: &Layout) -> Result<()> {
        let source = layout.repository.join("e2e/tools").join(self.folder);
        let key = Key::default().folder(&source)?.words([self.ldflags, &version()?]);
        let built = cached(&layout.cache, "tools", self.folder, key, |half| self.build(&source, half, layout))?;
        for (file, name) in self.programs {
            link(&built.join(file), &layout.bin(name))?;
        }
        Ok(())
    }

    fn build(&self, source: &Path, into: &Path, layout: &Layout) -> Result<()> {
        // A folder without a main of its own names the programs as `tool` lines of its go.mod.
        let package = if source.join("main.go").exists() { "." } else { "tool" };
        let mut go = Command::new("go");
        go.current_dir(source).env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags"]);
        go.arg(format!("-s -w {}", self.ldflags)).arg("-o").arg(format!("{}/", text(into))).arg(package);
        logged(&mut go, &layout.logs().join(format!("build-{}.log", self.folder)))
    }
}

/// Go's version as it says it.
///
/// # Errors
/// Go is missing or too old; the text says what mends it.
pub fn version() -> Result<String> {
    let said = output(Command::new("go").args(["env", "GOVERSION"]))
        .context("Go is missing: install Go 1.26 or newer and put its bin folder on PATH")?;
    let found = said.trim().trim_start_matches("go").to_owned();
    let mut numbers = found.split('.').filter_map(|number| number.parse().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < GO {
        bail!("Go {found} is too old: install Go {}.{} or newer", GO.0, GO.1);
    }
    Ok(found)
}

/// Points `name` at `target`, in one step.
///
/// # Errors
/// The link cannot be written.
pub fn link(target: &Path, name: &Path) -> Result<()> {
    let mut half = PathBuf::from(name);
    half.set_extension("new");
    if half.symlink_metadata().is_ok() {
        std::fs::remove_file(&half)?;
    }
    std::os::unix::fs::symlink(target, &half)?;
    std::fs::rename(&half, name)?;
    Ok(())
}
