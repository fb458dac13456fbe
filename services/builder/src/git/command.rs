//! git as a child process: no shell, a cleared environment, a deadline.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};

use super::private::Private;
use super::programs::PATH;
use super::{Error, classify};

/// The most that is read of a process's words.
const MOST: u64 = 64 * 1024 * 1024;

/// What holds for every git process, wherever it works.
const ALWAYS: [&str; 12] = [
    "core.hooksPath=/dev/null",
    "core.logAllRefUpdates=false",
    "core.symlinks=true",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "transfer.fsckObjects=true",
    "transfer.credentialsInUrl=die",
    "gc.autoDetach=false",
    "credential.helper=",
];

/// One call of git.
pub(super) struct Git<'a> {
    private: &'a Private,
    command: Command,
    limit: Duration,
}

impl<'a> Git<'a> {
    /// A call that may use these transports: `https:ssh`, or `file` between folders of ours.
    pub(super) fn new(private: &'a Private, transports: &str, limit: Duration) -> Self {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", private.path())
            .env("LC_ALL", "C");
        command
            .env("GIT_ALLOW_PROTOCOL", transports)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "");
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", private.config());
        command
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_ADVICE", "0")
            .env("GIT_LITERAL_PATHSPECS", "1");
        // The path is of our own making, and has nothing in it that a shell looks at.
        command
            .env(
                "GIT_SSH_COMMAND",
                format!("ssh -F {}", private.ssh_config().display()),
            )
            .env("GIT_SSH_VARIANT", "ssh");
        for setting in ALWAYS {
            command.args(["-c", setting]);
        }
        if transports != "file" {
            command.args(["-c", "protocol.file.allow=never"]);
        }
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self {
            private,
            command,
            limit,
        }
    }

    pub(super) fn at(mut self, folder: &Path) -> Self {
        self.command.arg("-C").arg(folder);
        self
    }

    pub(super) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it and returns what it printed.
    pub(super) async fn run(self) -> Result<String, Error> {
        let bytes = self.answer(&[], MOST).await?;

        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs it with this standard input, and returns at most `most` bytes of what it printed.
    pub(super) async fn answer(mut self, input: &[u8], most: u64) -> Result<Vec<u8>, Error> {
        let Self {
            private: _private,
            command,
            limit,
        } = &mut self;

        command.stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        });

        let work = async {
            let mut child = command.spawn().map_err(Error::Start)?;
            let (stdin, stdout, stderr) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let ((), stdout, stderr) =
                tokio::try_join!(feed(stdin, input), bytes(stdout, most), bytes(stderr, MOST))
                    .map_err(Error::Start)?;

            let status = child.wait().await.map_err(Error::Start)?;
            if status.success() {
                return Ok(stdout);
            }

            let stderr = String::from_utf8_lossy(&stderr);
            Err(Error::git(
                classify::why(&stderr),
                classify::telling(&stderr),
            ))
        };

        tokio::time::timeout(*limit, work)
            .await
            .map_err(|_elapsed| Error::Slow(*limit))?
    }
}

/// Writes the input and closes the pipe. A process that ends early says so by its exit code.
async fn feed(pipe: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    match pipe.write_all(input).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn bytes(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
