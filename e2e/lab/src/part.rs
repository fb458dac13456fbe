//! One real program of the cluster: how to start it and how to tell that it serves.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cache::Key;

/// A program with its arguments, and the sign that it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Unique below one supervisor; also the name of its log file.
    pub name: String,
    /// `argv`, the program's path first.
    pub argv: Vec<String>,
    /// Variables on top of the supervisor's own environment.
    pub env: Vec<(String, String)>,
    /// What it is started from: its program and a hash of the files that it reads when it starts. A
    /// part with another revision is started anew.
    pub revision: String,
    /// When others may rely on it.
    pub ready: Ready,
    /// How long it may take to become ready, in seconds.
    pub patience: u64,
}

/// The sign by which a part is known to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// It accepts a TCP connection here.
    Tcp(SocketAddr),
    /// It accepts a connection on this Unix socket.
    Socket(PathBuf),
    /// This command ends with status 0.
    Command(Vec<String>),
}

impl Part {
    /// A part that becomes ready within half a minute.
    pub fn new(
        name: impl Into<String>,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl Into<String>>,
        ready: Ready,
    ) -> Self {
        let program = program.as_ref();
        // The name is a link to what was built last.
        let built = program
            .canonicalize()
            .unwrap_or_else(|_| program.to_path_buf());
        let program = program.display().to_string();

        Self {
            name: name.into(),
            argv: std::iter::once(program)
                .chain(args.into_iter().map(Into::into))
                .collect(),
            env: Vec::new(),
            revision: built.display().to_string(),
            ready,
            patience: 30,
        }
    }

    /// The same part with one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same part, which has to be started anew when one of these files changes.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn reads(mut self, files: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Self> {
        let mut key = Key::default().words([&self.revision]);

        for file in files {
            let file = file.as_ref();
            key = key.words([std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?]);
        }

        self.revision = key.hex();
        Ok(self)
    }

    /// The same part with this many seconds to become ready.
    #[must_use]
    pub fn patience(mut self, seconds: u64) -> Self {
        self.patience = seconds;
        self
    }

    /// Starts the program in a process group of its own, its output appended to `log`. The log of
    /// the run before is kept beside it with the ending `.1`.
    ///
    /// # Errors
    /// The log cannot be opened, or the program cannot be started.
    pub fn spawn(&self, log: &Path) -> Result<Child> {
        let (program, args) = self
            .argv
            .split_first()
            .with_context(|| format!("{} has no program", self.name))?;

        if log.exists() {
            std::fs::rename(log, log.with_extension("log.1"))?;
        }

        let output =
            File::create(log).with_context(|| format!("cannot open the log {}", log.display()))?;

        Command::new(program)
            .args(args)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program}"))
    }
}

impl Ready {
    /// Whether the sign is there now; `succeeds` runs a command and tells whether it ended with
    /// status 0. Takes at most a second for sockets, and as long as the command for a command.
    pub fn holds(&self, succeeds: impl FnOnce(&[String]) -> bool) -> bool {
        match self {
            Self::Tcp(address) => {
                TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
            }
            Self::Socket(path) => UnixStream::connect(path).is_ok(),
            Self::Command(argv) => succeeds(argv),
        }
    }
}
