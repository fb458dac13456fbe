//! What is said over a supervisor's socket: one JSON request and one JSON answer per connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// What can be asked of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Starts a part and answers when it is ready. A part that runs already with the same command
    /// is left alone; one with another command is stopped first.
    Start(Part),
    /// Ends a part for good: SIGTERM, then SIGKILL after this many seconds. It is not listed any
    /// more.
    Stop {
        name: String,
        /// Seconds between the two signals.
        grace: u64,
    },
    /// Kills a part with SIGKILL, as a crash would. It stays listed.
    Kill { name: String },
    /// Lists every part with its health.
    List,
    /// Ends all parts, the last started first, and then the supervisor.
    Shutdown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; for [`Request::List`] with the parts in the order they were started.
    Parts(Vec<Health>),
    /// Not done, and why.
    Error(String),
}

/// One part as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub name: String,
    /// Its process id in the supervisor's pid namespace; none once it ended.
    pub pid: Option<i32>,
    /// How it ended, if it did.
    pub ended: Option<String>,
    /// It runs and shows the sign that it serves.
    pub ready: bool,
    /// Where its output goes: a file, or the command that shows it.
    pub log: String,
}

/// A supervisor, reached by its socket.
#[derive(Clone, Debug)]
pub struct Supervisor {
    socket: PathBuf,
}

impl Supervisor {
    /// The supervisor that listens on `socket`, alive or not.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id in our own pid namespace, if it lives: the kernel translates the credentials
    /// of the listener.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        getsockopt(&stream, PeerCredentials)
            .ok()
            .map(|credentials| credentials.pid())
    }

    /// Starts a part and waits until it is ready.
    ///
    /// # Errors
    /// The supervisor is away, or the part ended or did not become ready in its time; the text has
    /// the log's last lines.
    pub fn start(&self, part: Part) -> Result<()> {
        self.ask(&Request::Start(part)).map(drop)
    }

    /// Ends a part with SIGTERM, and with SIGKILL after `grace` seconds.
    ///
    /// # Errors
    /// The supervisor is away or knows no such part.
    pub fn stop(&self, name: &str, grace: u64) -> Result<()> {
        self.ask(&Request::Stop {
            name: name.into(),
            grace,
        })
        .map(drop)
    }

    /// Kills a part with SIGKILL.
    ///
    /// # Errors
    /// The supervisor is away or knows no such part.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.ask(&Request::Kill { name: name.into() }).map(drop)
    }

    /// Every part with its health, in the order they were started.
    ///
    /// # Errors
    /// The supervisor is away.
    pub fn list(&self) -> Result<Vec<Health>> {
        self.ask(&Request::List)
    }

    /// Ends everything below the supervisor and the supervisor itself.
    ///
    /// # Errors
    /// The supervisor is away.
    pub fn shutdown(&self) -> Result<()> {
        self.ask(&Request::Shutdown).map(drop)
    }

    /// What to say when it does not answer.
    #[must_use]
    pub fn away(&self) -> String {
        format!(
            "the cluster is not up (no supervisor answers at {}); start it with e2e/up",
            self.socket.display()
        )
    }

    fn ask(&self, request: &Request) -> Result<Vec<Health>> {
        let mut stream = UnixStream::connect(&self.socket).with_context(|| self.away())?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        match serde_json::from_str(&answer).context("the supervisor ended before it answered")? {
            Answer::Parts(parts) => Ok(parts),
            Answer::Error(message) => Err(anyhow!(message)),
        }
    }
}
