//! A bare repository for each namespace and address, so that a commit is fetched once; and folders
//! with one commit's files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sequencer_api::names::h10;
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

use super::command::Git;
use super::objects::{self, Commit, File};
use super::private::Private;
use super::{Error, Limits, Settings};

/// How often a fetch is weighed.
const WEIGH: Duration = Duration::from_millis(500);

/// How long git may take on folders of ours.
const LOCAL: Duration = Duration::from_secs(120);

/// Mirrors that are in use. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Mutex<HashMap<PathBuf, Arc<Lock<()>>>>>);

impl Locks {
    async fn lock(&self, path: &Path) -> OwnedMutexGuard<()> {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(path.into()).or_default())
        };
        lock.lock_owned().await
    }
}

/// A mirror that nobody else of this process works on. A pod's data are its own, so there is no
/// other process.
pub(super) struct Mirror<'a> {
    path: PathBuf,
    settings: &'a Settings,
    _lock: OwnedMutexGuard<()>,
}

/// A commit to be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) source: Option<&'a str>,
    pub(super) url: &'a str,
    pub(super) commit: &'a str,
    pub(super) reference: Option<&'a str>,
    pub(super) depth: u32,
}

impl<'a> Mirror<'a> {
    /// The mirror of an address and a Secret. Depths do not mix: a shallow fetch would cut
    /// another's history.
    pub(super) async fn open(
        settings: &'a Settings,
        locks: &Locks,
        namespace: &str,
        wanted: Wanted<'_>,
    ) -> Result<Self, Error> {
        let name = format!(
            "{}-{}.git",
            h10(&[wanted.url, wanted.source.unwrap_or_default()]),
            wanted.depth
        );
        let path = settings.data.join("git").join(h10(&[namespace])).join(name);
        let lock = locks.lock(&path).await;
        let mirror = Self {
            path,
            settings,
            _lock: lock,
        };

        mirror.make().await?;
        Ok(mirror)
    }

    /// Makes it if there is none, removes what a killed git left, and begins anew where it grew too
    /// big.
    async fn make(&self) -> Result<(), Error> {
        let big = weigh(&self.path).await > self.settings.limits.bytes;
        if big {
            tokio::fs::remove_dir_all(&self.path)
                .await
                .map_err(Error::Files)?;
        }

        for lock in [
            "shallow.lock",
            "config.lock",
            "HEAD.lock",
            "packed-refs.lock",
        ] {
            // There is one only after a crash.
            drop(tokio::fs::remove_file(self.path.join(lock)).await);
        }

        if tokio::fs::try_exists(self.path.join("HEAD"))
            .await
            .map_err(Error::Files)?
        {
            return Ok(());
        }

        tokio::fs::create_dir_all(&self.path)
            .await
            .map_err(Error::Files)?;

        let private = Private::local(self.settings)?;
        self.git(&private, "file", LOCAL)
            .args(["init", "--quiet", "--bare", "--template="])
            .run()
            .await
            .map(drop)
    }

    pub(super) async fn fetch(&self, private: &Private, wanted: Wanted<'_>) -> Result<(), Error> {
        let kept = kept(wanted.commit);
        let depth = format!("--depth={}", wanted.depth);
        let by_commit = self
            .fetch_one(
                private,
                &[&depth],
                wanted.url,
                &format!("+{}:{kept}", wanted.commit),
            )
            .await;
        match by_commit {
            Err(Error::NoRef(_))
                if wanted
                    .reference
                    .is_some_and(|reference| !super::refs::is_commit(reference)) => {}
            other => return other,
        }

        // Some servers give commits only as part of a ref's history.
        for source in super::refs::candidates(wanted.reference)
            .iter()
            .filter(|source| !source.ends_with("^{}"))
        {
            match self
                .fetch_one(private, &[], wanted.url, &format!("+{source}:refs/seq/ref"))
                .await
            {
                Err(Error::NoRef(_)) => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }

        let local = Private::local(self.settings)?;
        let update = self
            .git(&local, "file", LOCAL)
            .args(["update-ref", &kept, wanted.commit])
            .run()
            .await;

        update
            .map(drop)
            .map_err(|_missing| Error::NoRef(wanted.commit.into()))
    }

    /// Whether a fetch of this commit was completed.
    pub(super) async fn has(&self, commit: &str) -> Result<bool, Error> {
        let private = Private::local(self.settings)?;
        let found = self
            .git(&private, "file", LOCAL)
            .args(["show-ref", "--verify", "--quiet", &kept(commit)])
            .run()
            .await;
        match found {
            Ok(_) => Ok(true),
            Err(Error::Refused(_) | Error::NoRef(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A fetch that is stopped when it brings too much.
    async fn fetch_one(
        &self,
        private: &Private,
        options: &[&str],
        url: &str,
        refspec: &str,
    ) -> Result<(), Error> {
        let Limits { bytes, fetch, .. } = self.settings.limits;
        let command = self.git(private, "https:ssh", fetch).args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
        ]);
        let work = command.args(options).args(["--", url, refspec]).run();
        let watch = async {
            loop {
                tokio::time::sleep(WEIGH).await;
                if weigh(&self.path).await > bytes {
                    return Error::Limit(format!("more than {bytes} bytes"));
                }
            }
        };

        tokio::select! {
            // A server that falls silent is found out long before.
            done = work => match done {
                Err(Error::Slow(limit)) => Err(Error::Limit(format!(
                    "it was not fetched within {limit:?}"
                ))),
                done => done.map(drop),
            },
            error = watch => Err(error),
        }
    }

    /// Puts one commit's files, with as much history as was fetched, into a folder. The same commit
    /// gives the same bytes.
    pub(super) async fn checkout(&self, commit: &str, folder: &Path) -> Result<(), Error> {
        let private = Private::local(self.settings)?;

        tokio::fs::create_dir_all(folder)
            .await
            .map_err(Error::Files)?;

        let git = |args: &[&str]| {
            Git::new(&private, "file", self.settings.limits.fetch)
                .at(folder)
                .args(args.iter().copied())
                .run()
        };

        // Each of these is a process: what does not depend on another does not wait for it.
        tokio::try_join!(
            self.count(&private, commit),
            git(&["init", "--quiet", "--template="])
        )?;

        let url = format!("file://{}", self.path.display());
        git(&[
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--update-shallow",
            "--",
            &url,
            &format!("+{}:refs/heads/seq", kept(commit)),
        ])
        .await?;
        git(&["checkout", "--quiet", "--detach", commit, "--"]).await?;

        let index = async {
            // The index knows times and inodes, which would make every checkout another context.
            tokio::fs::remove_file(folder.join(".git/index"))
                .await
                .map_err(Error::Files)?;
            git(&["read-tree", "HEAD"]).await
        };

        tokio::try_join!(git(&["update-ref", "-d", "refs/heads/seq"]), index).map(drop)
    }

    /// Reads the commit and one of its folders.
    pub(super) async fn commit(&self, commit: &str, folder: &str) -> Result<Commit, Error> {
        let questions = objects::commit_questions(commit, folder);
        let answer = self.cat(&["--batch-command"], &questions).await?;

        objects::commit(&answer)
    }

    /// Reads a file of a tree. Links are followed inside the tree.
    pub(super) async fn file(&self, tree: &str, path: &str) -> Result<File, Error> {
        let question = objects::file_question(tree, path);
        let answer = self
            .cat(&["--batch", "--follow-symlinks"], &question)
            .await?;

        objects::file(&answer)
    }

    async fn cat(&self, options: &[&str], questions: &str) -> Result<Vec<u8>, Error> {
        let private = Private::local(self.settings)?;

        self.git(&private, "file", LOCAL)
            .args(["cat-file"].iter().chain(options))
            .answer(questions.as_bytes(), objects::MAX_ANSWER)
            .await
    }

    /// Refuses a commit with too many or too big files before they are written.
    async fn count(&self, private: &Private, commit: &str) -> Result<(), Error> {
        let Limits { bytes, files, .. } = self.settings.limits;
        let listed = self
            .git(private, "file", LOCAL)
            .args(["ls-tree", "-r", "-l", commit])
            .run()
            .await?;
        let sizes = listed.lines().map(|line| {
            line.split_whitespace()
                .nth(3)
                .and_then(|size| size.parse::<u64>().ok())
                .unwrap_or(0)
        });
        let (count, total) = sizes.fold((0_u64, 0_u64), |(count, total), size| {
            (count + 1, total.saturating_add(size))
        });
        if count > files {
            return Err(Error::Limit(format!("{count} files; {files} are allowed")));
        }
        if total > bytes {
            return Err(Error::Limit(format!(
                "{total} bytes of files; {bytes} are allowed"
            )));
        }
        Ok(())
    }

    fn git<'p>(&self, private: &'p Private, transports: &str, limit: Duration) -> Git<'p> {
        Git::new(private, transports, limit).at(&self.path)
    }
}

/// The ref that keeps a commit.
fn kept(commit: &str) -> String {
    format!("refs/seq/{commit}")
}

/// The bytes of all files in a folder; those that vanish meanwhile count nothing.
async fn weigh(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_path_buf()];
    let mut bytes = 0_u64;

    while let Some(folder) = folders.pop() {
        let Ok(mut entries) = tokio::fs::read_dir(&folder).await else {
            continue;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            match entry.metadata().await {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes = bytes.saturating_add(found.len()),
                Err(_) => {}
            }
        }
    }

    bytes
}
