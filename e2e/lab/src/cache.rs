//! The cache: what is built once and shared by all checkouts, under a key of what it is made from.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};
use ring::digest::{Context as Sha256, SHA256};
use walkdir::WalkDir;

use crate::layout::text;

/// A key of files and words: the same inputs give the same key, on every machine and in every
/// checkout.
pub struct Key(Sha256);

impl Default for Key {
    fn default() -> Self {
        Self(Sha256::new(&SHA256))
    }
}

impl Key {
    /// Adds words, each told apart from its neighbours.
    #[must_use]
    pub fn words<W: AsRef<str>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        for word in words {
            self.0.update(word.as_ref().as_bytes());
            self.0.update(&[0]);
        }
        self
    }

    /// Adds a file's content.
    #[must_use]
    pub fn bytes(mut self, content: &[u8]) -> Self {
        self.0.update(content);
        self.0.update(&[0]);
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
                self = self
                    .words([text(relative)])
                    .bytes(&std::fs::read(entry.path())?);
            }
        }
        Ok(self)
    }

    /// The first 16 hex digits.
    #[must_use]
    pub fn hex(self) -> String {
        self.0
            .finish()
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Returns the folder `<cache>/<kind>/<name>-<key>`, and calls `make` with an empty folder first if
/// there is none: what was interrupted leaves no half-made result under the final name.
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

    std::fs::create_dir_all(cache)
        .with_context(|| format!("cannot write the cache {}", cache.display()))?;

    // Another checkout may be at it: its result is ours.
    let lock = File::create(cache.join(format!(".{kind}-{name}.lock")))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;

    if made.exists() {
        return Ok(made);
    }

    // Nobody else is, so what is there was left by an interrupt.
    let half = folder.join(format!(".{name}"));
    if half.exists() {
        std::fs::remove_dir_all(&half)?;
    }

    std::fs::create_dir_all(&half)
        .with_context(|| format!("cannot write the cache {}", half.display()))?;

    let result = make(&half).and_then(|()| Ok(std::fs::rename(&half, &made)?));
    if result.is_err() && half.exists() {
        std::fs::remove_dir_all(&half)?;
    }

    result.map(|()| made)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_at_once_make_it_once() {
        let cache = tempfile::tempdir().unwrap();
        let made = AtomicU32::new(0);
        let get = || {
            cached(cache.path(), "tools", "a", Key::default(), |half| {
                made.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
                Ok(std::fs::write(half.join("a"), "")?)
            })
            .unwrap()
        };

        std::thread::scope(|scope| {
            let (first, second) = (scope.spawn(get), scope.spawn(get));
            assert_eq!(first.join().unwrap(), second.join().unwrap());
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn what_failed_leaves_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let failed = cached(cache.path(), "tools", "a", Key::default(), |half| {
            std::fs::write(half.join("a"), "")?;
            anyhow::bail!("no")
        });
        assert!(failed.is_err());
        let left = std::fs::read_dir(cache.path().join("tools")).unwrap();
        let folders = left.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir()));
        assert_eq!(folders.count(), 0);
    }
}
