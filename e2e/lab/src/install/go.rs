//! Programs that are built from Go modules. Each has its pins in `e2e/tools/<folder>`; most are
//! built together by `e2e/tools/go.work`, so that what several need is compiled once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cache::{Key, cached};
use crate::layout::{Layout, text};
use crate::process::{logged, output};

/// The oldest Go that builds all of them.
const GO: (u32, u32) = (1, 26);

/// A folder below `e2e/tools` and what it gives.
#[derive(Debug)]
pub struct Tool {
    pub folder: &'static str,
    /// The module whose version is the tool's; none where it is our own program.
    module: &'static str,
    /// The packages that are built; those of the folder itself where there are none.
    packages: &'static [&'static str],
    /// The linker's flags besides `-s -w`.
    ldflags: &'static str,
    /// Pairs of the built file's name and the name it is installed under.
    programs: &'static [(&'static str, &'static str)],
    /// What it takes of the CPU the first time, in seconds: measured, one after the other, so that
    /// what several share is counted with the first of them.
    cpu: u32,
    /// Whether it is one of those of `go.work`, which agree on the version of everything that they
    /// share. One of a version of its own compiles all of that again.
    shares: bool,
    /// Whether only tests run it.
    only_tests: bool,
}

const KUBERNETES: Tool = Tool {
    module: "k8s.io/kubernetes",
    ldflags: "-X k8s.io/component-base/version.gitVersion=v1.36.3",
    cpu: 690,
    ..Tool::new(
        "kubernetes",
        &[
            ("kubernetes", "kube-apiserver"),
            ("kubernetes", "kube-controller-manager"),
            ("kubernetes", "kube-scheduler"),
            ("kubernetes", "kube-proxy"),
            ("kubernetes", "kubelet"),
            ("kubernetes", "kubectl"),
        ],
    )
};
const ETCD: Tool = Tool {
    module: "go.etcd.io/etcd/server/v3",
    packages: &["go.etcd.io/etcd/server/v3"],
    cpu: 18,
    ..Tool::new("etcd", &[("server", "etcd")])
};
const BUILDKIT: Tool = Tool {
    module: "github.com/moby/buildkit",
    packages: &[
        "github.com/moby/buildkit/cmd/buildkitd",
        "github.com/moby/buildkit/cmd/buildctl",
    ],
    cpu: 136,
    ..Tool::new(
        "buildkit",
        &[("buildkitd", "buildkitd"), ("buildctl", "buildctl")],
    )
};
const ROOTLESSKIT: Tool = Tool {
    module: "github.com/rootless-containers/rootlesskit/v2",
    packages: &["github.com/rootless-containers/rootlesskit/v2/cmd/rootlesskit"],
    ..Tool::new("rootlesskit", &[("rootlesskit", "rootlesskit")])
};
const COREDNS: Tool = Tool {
    module: "github.com/coredns/coredns",
    cpu: 17,
    ..Tool::new("coredns", &[("coredns", "coredns")])
};
const DISTRIBUTION: Tool = Tool {
    module: "github.com/distribution/distribution/v3",
    shares: false,
    cpu: 61,
    ..Tool::new("distribution", &[("distribution", "registry")])
};
const CRANE: Tool = Tool {
    module: "github.com/google/go-containerregistry",
    packages: &["github.com/google/go-containerregistry/cmd/crane"],
    ..Tool::new("crane", &[("crane", "crane")])
};
const HELM: Tool = Tool {
    module: "helm.sh/helm/v3",
    packages: &["helm.sh/helm/v3/cmd/helm"],
    cpu: 28,
    ..Tool::new("helm", &[("helm", "helm")])
};
const NATS: Tool = Tool {
    module: "github.com/nats-io/nats-server/v2",
    packages: &["github.com/nats-io/nats-server/v2"],
    shares: false,
    cpu: 35,
    ..Tool::new("nats", &[("nats-server", "nats-server")])
};
const PAUSE: Tool = Tool::new("pause", &[("pause", "pause")]);
const KSTATUS: Tool = Tool {
    only_tests: true,
    ..Tool::new("kstatus", &[("kstatus", "kstatus")])
};
/// Plays the kubelet for nodes that exist in the API only.
pub const KWOK: Tool = Tool {
    module: "sigs.k8s.io/kwok",
    packages: &["sigs.k8s.io/kwok/cmd/kwok"],
    shares: false,
    only_tests: true,
    cpu: 190,
    ..Tool::new("kwok", &[("kwok", "kwok")])
};
/// Receives traces.
pub const OTELCOL: Tool = Tool {
    module: "go.opentelemetry.io/collector/otelcol",
    shares: false,
    only_tests: true,
    cpu: 160,
    ..Tool::new("otelcol", &[("otelcol", "otelcol")])
};

/// Every program that comes from a Go module.
pub const TOOLS: [Tool; 13] = [
    KUBERNETES,
    ETCD,
    HELM,
    COREDNS,
    DISTRIBUTION,
    CRANE,
    ROOTLESSKIT,
    BUILDKIT,
    NATS,
    PAUSE,
    KSTATUS,
    KWOK,
    OTELCOL,
];

impl Tool {
    const fn new(folder: &'static str, programs: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            folder,
            module: "",
            packages: &[],
            ldflags: "",
            programs,
            cpu: 0,
            shares: true,
            only_tests: false,
        }
    }

    /// Whether only tests run it.
    #[must_use]
    pub fn only_tests(&self) -> bool {
        self.only_tests
    }

    /// Builds the tool unless the cache has it, and links its programs into the state folder.
    ///
    /// # Errors
    /// The build fails; the text has its log.
    pub fn install(&self, layout: &Layout) -> Result<()> {
        let built = cached(
            &layout.cache,
            "tools",
            self.folder,
            self.key(&sources(layout))?,
            |half| self.build(half, layout),
        )?;

        for (file, name) in self.programs {
            link(&built.join(file), &layout.bin(name))?;
        }

        Ok(())
    }

    /// What the step does, in words.
    pub(super) fn what(&self, layout: &Layout) -> String {
        let version = self.version(&sources(layout)).unwrap_or_default();
        let programs = match self.programs.len() {
            1 => String::new(),
            several => format!(" into {several} programs"),
        };

        let time = match self.cpu {
            0..10 => String::new(),
            10..60 => format!(", {} s of CPU the first time", self.cpu),
            more => format!(", {} min of CPU the first time", more.div_ceil(60)),
        };

        format!("compile{version}{programs}{time}")
    }

    /// The version in its go.mod, with a space before it.
    fn version(&self, sources: &Path) -> Option<String> {
        let pins = std::fs::read_to_string(sources.join(self.folder).join("go.mod")).ok()?;
        pins.lines().find_map(|line| {
            let (module, version) = line.trim_start_matches("require").trim().split_once(" v")?;
            let version = version.split(' ').next()?;
            (module == self.module).then(|| format!(" {version}"))
        })
    }

    /// Where Go's output goes.
    pub(super) fn log(&self, layout: &Layout) -> PathBuf {
        layout.logs().join(format!("build-{}.log", self.folder))
    }

    /// Those that share are one input: any of them may raise the version that another gets.
    fn key(&self, sources: &Path) -> Result<Key> {
        let mut key = Key::default().words([self.ldflags, &version()?]);

        if self.shares {
            for file in ["go.work", "go.work.sum"] {
                key = key.bytes(&std::fs::read(sources.join(file))?);
            }
            for tool in TOOLS.iter().filter(|tool| tool.shares) {
                for file in ["go.mod", "go.sum"] {
                    let path = sources.join(tool.folder).join(file);
                    key = key.bytes(&std::fs::read(path).unwrap_or_default());
                }
            }
        }

        key.folder(&sources.join(self.folder))
    }

    fn build(&self, into: &Path, layout: &Layout) -> Result<()> {
        if self.shares && !self.module.is_empty() {
            self.check_version(layout)?;
        }

        let mut go = self.go(layout);
        // With -v the log says which package is under way.
        go.args(["build", "-v", "-trimpath", "-ldflags"])
            .arg(format!("-s -w {}", self.ldflags))
            .arg("-o")
            .arg(format!("{}/", text(into)));

        if self.packages.is_empty() {
            go.arg(".");
        }

        logged(go.args(self.packages), &self.log(layout))
    }

    fn go(&self, layout: &Layout) -> Command {
        let mut go = Command::new("go");
        go.current_dir(sources(layout).join(self.folder))
            .env("CGO_ENABLED", "0")
            .env("GOWORK", if self.shares { "" } else { "off" });
        go
    }

    /// Another module of the workspace may need a newer one than is pinned: nothing else says so.
    fn check_version(&self, layout: &Layout) -> Result<()> {
        let mut list = self.go(layout);
        list.args(["list", "-m", "-f", "{{.Version}}", self.module]);
        let found = output(&mut list)?;
        let pinned = self.version(&sources(layout)).unwrap_or_default();

        ensure!(
            found.trim().trim_start_matches('v') == pinned.trim(),
            "e2e/tools/{} pins {pinned}, and another program of go.work needs {}: pin that, or take one of them out of go.work",
            self.folder,
            found.trim()
        );
        Ok(())
    }
}

fn sources(layout: &Layout) -> PathBuf {
    layout.repository.join("e2e/tools")
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
        bail!(
            "Go {found} is too old: install Go {}.{} or newer",
            GO.0,
            GO.1
        );
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Asked when it runs: checkouts that share what was compiled have folders of their own.
    fn pins() -> PathBuf {
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../tools")
    }

    #[test]
    fn those_that_share_are_those_of_the_workspace() {
        let work = std::fs::read_to_string(pins().join("go.work")).unwrap();
        let used: BTreeSet<_> = work
            .lines()
            .filter_map(|line| line.trim().strip_prefix("./"))
            .collect();
        let sharing = TOOLS.iter().filter(|tool| tool.shares);
        assert_eq!(used, sharing.map(|tool| tool.folder).collect());
    }

    #[test]
    fn every_tool_of_a_module_has_its_version() {
        for tool in TOOLS.iter().filter(|tool| !tool.module.is_empty()) {
            let version = tool.version(&pins()).unwrap_or_default();
            let numbers = version.trim().split('.').map(str::parse::<u32>);
            assert!(numbers.clone().count() == 3, "{}: {version}", tool.folder);
            assert!(
                numbers.clone().all(|n| n.is_ok()),
                "{}: {version}",
                tool.folder
            );
        }
    }

    #[test]
    fn a_step_says_version_programs_and_time() {
        let layout = Layout {
            repository: pins().join("../.."),
            cache: PathBuf::new(),
            state: PathBuf::new(),
        };

        let tool = Tool {
            cpu: 610,
            ..KUBERNETES
        };

        let what = tool.what(&layout);
        assert!(what.starts_with("compile 1."), "{what}");
        assert!(
            what.ends_with(" into 6 programs, 11 min of CPU the first time"),
            "{what}"
        );
    }
}
