//! BuildKit's daemon, and the processes beside it in this pid namespace.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sequencer_runtime::error::chain;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::processes::{self, Identity, Process};

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(30);

/// How long processes that were killed may take to be gone. One that cannot end holds on to
/// something that no other build should meet.
const KILL: Duration = Duration::from_secs(10);

/// The wait between two checks.
const PAUSE: Duration = Duration::from_millis(20);

/// Every process that may be signalled, but for the first.
const ALL: Pid = Pid::from_raw(-1);

/// BuildKit cannot be had.
#[derive(Debug, Error)]
pub(super) enum DaemonError {
    #[error("cannot start BuildKit")]
    Start(#[source] io::Error),
    #[error("BuildKit ended while it started")]
    Ended,
    #[error("BuildKit does not listen after {}s", START.as_secs())]
    Silent,
    #[error("cannot read the processes")]
    Processes(#[from] io::Error),
    #[error("cannot signal the processes")]
    Signal(#[from] Errno),
    #[error("{0} processes do not end although they were killed")]
    Stuck(usize),
}

pub(super) struct Daemon {
    command: Vec<String>,
    socket: PathBuf,
    running: Arc<Running>,
    /// The daemon and what it needs itself, from before the first build.
    own: BTreeSet<Identity>,
}

struct Running {
    pid: Mutex<Option<Pid>>,
    ended: watch::Sender<u64>,
}

/// Takes note of processes that ended.
#[derive(Clone)]
pub(super) struct Reaper(Arc<Running>);

impl Daemon {
    pub(super) fn new(command: &[String], socket: &Path) -> Self {
        let running = Running {
            pid: Mutex::default(),
            ended: watch::Sender::new(0),
        };
        Self {
            command: command.into(),
            socket: socket.into(),
            running: running.into(),
            own: BTreeSet::new(),
        }
    }

    pub(super) fn reaper(&self) -> Reaper {
        Reaper(Arc::clone(&self.running))
    }

    /// Changes when it ends.
    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.running.ended.subscribe()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.running.pid().is_some()
    }

    /// What builds left behind, and whether the daemon was stopped.
    pub(super) fn left_behind(&self) -> io::Result<(Vec<Process>, bool)> {
        let all = processes::all()?;
        let frozen = processes::is_frozen(&all, &self.own);
        Ok((processes::leftovers(all, &self.own), frozen))
    }

    /// Starts it, and waits until it listens. Nothing else may be running.
    pub(super) async fn start(&mut self) -> Result<(), DaemonError> {
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DaemonError::Start(error));
            }
            _ => {}
        }

        let mut command = Command::new("/proc/self/exe");
        command
            .args(["launch", "--"])
            .args(&self.command)
            .stdin(Stdio::null());

        let child = command.spawn().map_err(DaemonError::Start)?;
        // The kernel's numbers are positive. The reaper waits for it, as for all others.
        let pid = Pid::from_raw(child.id().cast_signed());

        *self
            .running
            .pid
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(pid);

        let deadline = Instant::now() + START;

        while UnixStream::connect(&self.socket).await.is_err() {
            if !self.is_alive() {
                return Err(DaemonError::Ended);
            }
            if Instant::now() >= deadline {
                return Err(DaemonError::Silent);
            }
            sleep(PAUSE).await;
        }

        self.own = processes::identities(&processes::all()?);
        Ok(())
    }

    /// Asks it to end, if it has any time for that, and kills every process there is.
    pub(super) async fn stop(&mut self, grace: Duration) -> Result<(), DaemonError> {
        let mut ended = self.ended();

        if let Some(pid) = self.running.pid().filter(|_pid| !grace.is_zero()) {
            match kill(pid, Signal::SIGTERM) {
                Ok(()) => drop(timeout(grace, ended.changed()).await),
                Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }

        let deadline = Instant::now() + KILL;
        loop {
            // All at once: no process can start another between two of these.
            match kill(ALL, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }

            // The children that ended meanwhile are reaped, and the daemon with them.
            sleep(PAUSE).await;
            let left = processes::identities(&processes::all()?).len();
            if left == 0 && !self.is_alive() {
                return Ok(());
            }

            if Instant::now() >= deadline {
                return Err(DaemonError::Stuck(left));
            }
        }
    }
}

impl Running {
    fn pid(&self) -> Option<Pid> {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reaper {
    /// Reaps whatever ended: the first process adopts all orphans.
    pub(super) fn reap(&self) {
        let daemon = self.0.pid();
        let mut exit = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(status) if status.pid() == daemon => exit = Some(status),
                // EINVAL: reaped, but of a signal that has no name.
                Ok(_) | Err(Errno::EINVAL | Errno::EINTR) => {}
                Err(error) => {
                    warn!(error = chain(&error), "Failed to wait for processes");
                    break;
                }
            }
        }

        // By its number, since a signal without a name hides whom it killed.
        if let Some(pid) = daemon
            && kill(pid, None) == Err(Errno::ESRCH)
        {
            warn!(?exit, "BuildKit ended");
            *self.0.pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.0.ended.send_modify(|ended| *ended += 1);
        }
    }
}
