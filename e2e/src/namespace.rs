//! The namespaces in which a node lives: pid, mount and network of its own, with a supervisor as PID 1. Killing that one
//! process ends every process, mount, link and packet filter rule inside.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::control::Supervisor;
use crate::layout::text;
use crate::process::output;

/// Lies on the namespace's own `/run` once it is set up: a supervisor without it was interrupted while it was made.
const MARKER: &str = "/run/sequencer-e2e-ready";

/// A node's namespaces, named by their supervisor.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// PID 1 inside.
    pub supervisor: Supervisor,
}

impl Namespace {
    /// The namespaces whose supervisor listens on `socket`, alive or not.
    pub fn at(socket: impl Into<std::path::PathBuf>) -> Self {
        Self { supervisor: Supervisor::at(socket) }
    }

    /// The command that makes new namespaces with a supervisor in them. It dies with its parent's `unshare`, and the
    /// other way round.
    ///
    /// # Errors
    /// This program's own path is unknown.
    pub fn boot(socket: &Path, logs: &Path) -> Result<Vec<String>> {
        let own = std::env::current_exe()?;
        let words = "unshare --net --mount --pid --uts --fork --kill-child --mount-proc --propagation private --";
        let mut argv: Vec<String> = words.split(' ').map(Into::into).collect();
        argv.extend([text(own), "supervise".into(), "--socket".into(), text(socket), "--logs".into(), text(logs)]);
        Ok(argv)
    }

    /// Starts the supervisor apart from this command's session, so that neither Ctrl-C nor a closed terminal ends it,
    /// with a clean environment, and waits until it answers.
    ///
    /// # Errors
    /// It does not answer within ten seconds; the text has its log.
    pub fn start(&self, logs: &Path, path: &str) -> Result<()> {
        let log = logs.join("supervisor.log");
        let output = std::fs::File::create(&log)?;
        Command::new("setsid")
            .args(Self::boot(self.supervisor.socket(), logs)?)
            .env_clear()
            .envs([("PATH", path), ("HOME", "/root"), ("LANG", "C.UTF-8")])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start setsid")?;
        self.wait(&log)
    }

    /// Waits until the supervisor answers.
    ///
    /// # Errors
    /// It does not within ten seconds; the text has the end of `log`.
    pub fn wait(&self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.supervisor.pid().is_none() {
            if Instant::now() > deadline {
                bail!("the supervisor does not answer; its log says:\n{}", crate::process::tail(log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether the supervisor lives and the namespaces were set up to the end.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.run(&["test", "-e", MARKER]).is_ok()
    }

    /// Says that the namespaces are set up.
    ///
    /// # Errors
    /// The supervisor is away.
    pub fn mark_set_up(&self) -> Result<()> {
        self.run(&["touch", MARKER]).map(drop)
    }

    /// A command that will run inside, in this command's working folder.
    ///
    /// # Errors
    /// The supervisor is away.
    pub fn command(&self, argv: &[&str]) -> Result<Command> {
        let pid = self.supervisor.pid().with_context(|| self.supervisor.away())?;
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--pid", "--uts", "--target", &pid.to_string()]);
        command.arg(format!("--wdns={}", text(std::env::current_dir()?))).arg("--").args(argv);
        Ok(command)
    }

    /// Runs a command inside and returns what it printed.
    ///
    /// # Errors
    /// The supervisor is away, or the command fails; the text has what it printed on stderr.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        output(&mut self.command(argv)?)
    }

    /// Ends the supervisor at once and with it everything inside; returns when it is gone.
    ///
    /// # Errors
    /// It lives on.
    pub fn kill(&self) -> Result<()> {
        if let Some(pid) = self.supervisor.pid() {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
        }
        self.wait_gone()
    }

    /// Waits until the supervisor is gone.
    ///
    /// # Errors
    /// It lives on for twenty seconds.
    pub fn wait_gone(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(pid) = self.supervisor.pid() {
            if Instant::now() > deadline {
                bail!("the supervisor, pid {pid}, does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
