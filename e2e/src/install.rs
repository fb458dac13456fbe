//! What `up` brings onto the machine: Debian packages, programs built from Go modules, Python wheels. Everything is
//! pinned in `e2e/tools`, and what was built is kept in the cache under a key of its inputs.

pub mod debian;
pub mod go;
pub mod rust;
pub mod wheel;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::layout::text;
use crate::supervisor::tail;

/// A key of files and words: the same inputs give the same key, on every machine and in every checkout.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds words, each told apart from its neighbours.
    #[must_use]
    pub fn words<W: AsRef<str>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        for word in words {
            self.0.update(word.as_ref().as_bytes());
            self.0.update([0]);
        }
        self
    }

    /// Adds every file below a folder by its path in it and its content.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn folder(mut self, folder: &Path) -> Result<Self> {
        for entry in WalkDir::new(folder).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                let relative = entry.path().strip_prefix(folder)?;
                self = self.words([text(relative)]);
                self.0.update(std::fs::read(entry.path())?);
                self.0.update([0]);
            }
        }
        Ok(self)
    }

    /// The first 16 hex digits.
    #[must_use]
    pub fn hex(self) -> String {
        self.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the folder `<cache>/<kind>/<name>-<key>`, and calls `make` with an empty folder first if there is none: what
/// was interrupted leaves no half-made result under the final name.
///
/// # Errors
/// `make` fails, or the cache cannot be written.
pub fn cached(
    cache: &Path,
    kind: &str,
    name: &str,
    key: Key,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cache.join(kind);
    let made = folder.join(format!("{name}-{}", key.hex()));
    if made.exists() {
        return Ok(made);
    }
    let half = folder.join(format!(".{name}.{}", std::process::id()));
    std::fs::create_dir_all(&half).with_context(|| format!("cannot write the cache {}", half.display()))?;
    let result = make(&half).and_then(|()| Ok(std::fs::rename(&half, &made)?));
    if result.is_err() && half.exists() {
        std::fs::remove_dir_all(&half)?;
    }
    result.map(|()| made)
}

/// Runs a command that may take minutes, its output in `log`.
///
/// # Errors
/// It cannot be started, or it fails; the text has the log's last lines, and says so where a registry did not answer.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let output = File::options().create(true).append(true).open(log)?;
    let shown = text(command.get_program());
    let status = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if status.success() {
        return Ok(());
    }
    let said = tail(log);
    let silent =
        ["onnection refused", "imed out", "o such host", "ould not resolve", "emporary failure", "unreachable"];
    if silent.iter().any(|sign| said.contains(sign)) {
        bail!(
            "a package registry did not answer; look at this machine's network and proxy settings, then run it again\n{said}"
        );
    }
    bail!("{shown} ended with {status}\n{said}")
}
