//! etcd's data with the definitions of Sequencer's kinds in it: made once, and copied by every test
//! that needs them. An API server takes longer to begin to serve a kind than to start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Alone;
use crate::cache::{Key, cached};
use crate::layout::{Layout, text};
use crate::process::output;

/// Where the data is.
pub(super) fn data(programs: &Layout) -> Result<PathBuf> {
    let definitions = programs.repository.join("charts/sequencer/files/crds");
    let versions = ["etcd", "kube-apiserver"].map(|program| programs.bin(program).canonicalize());
    let versions: Vec<_> = versions.into_iter().collect::<Result<_, _>>()?;
    let key = Key::default()
        .folder(&definitions)?
        .words(versions.into_iter().map(text));

    cached(&programs.cache, "etcd", "kinds", key, |half| {
        make(programs, &definitions, half)
    })
}

/// Copies etcd's data.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.args(["--recursive", "--sparse=always", "--no-target-directory"]);
    output(cp.args([from, to])).map(drop)
}

fn make(programs: &Layout, definitions: &Path, to: &Path) -> Result<()> {
    let mut alone = Alone::new(programs)?;
    let kubeconfig = text(alone.control_plane()?);
    let kubectl = |args: &[&str]| {
        let mut kubectl = Command::new(programs.bin("kubectl"));
        output(kubectl.args(["--kubeconfig", &kubeconfig]).args(args))
    };

    kubectl(&["create", "-f", &text(definitions)])?;
    kubectl(&["wait", "--for=condition=Established", "crd", "--all"])?;

    // Asked to end, etcd writes down what it has not yet.
    for (_, child) in alone.children.iter_mut().rev() {
        kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
        child.wait()?;
    }

    copy(&alone.layout.data("etcd"), to)
}
