//! The namespaces in which a node lives: pid, mount and network of its own, with a supervisor as
//! PID 1. Killing that one process ends every process, mount, link and packet filter rule inside.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::Supervisor;
use crate::layout::{text, without_proxy};
use crate::process::{output, tail, this_program};
use crate::until::until;

/// Lies on the namespace's own `/run` once it is set up: a supervisor without it was interrupted
/// while it was made.
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
        Self {
            supervisor: Supervisor::at(socket),
        }
    }

    /// The command that makes new namespaces with a supervisor in them; `program` is this one,
    /// wherever it is. It dies with its parent's `unshare`, and the other way round.
    #[must_use]
    pub fn boot(program: &Path, socket: &Path, logs: &Path) -> Vec<String> {
        let words = "unshare --net --mount --pid --uts --fork --kill-child --mount-proc --propagation private --";
        let mut argv: Vec<String> = words.split(' ').map(Into::into).collect();
        argv.extend([
            text(program),
            "supervise".into(),
            "--socket".into(),
            text(socket),
            "--logs".into(),
            text(logs),
        ]);
        argv
    }

    /// Starts the supervisor apart from this command's session, so that neither Ctrl-C nor a closed
    /// terminal ends it, with a clean environment, and waits until it answers.
    ///
    /// # Errors
    /// It does not answer within ten seconds; the text has its log.
    pub fn start(&self, logs: &Path, path: &str) -> Result<()> {
        let log = logs.join("supervisor.log");
        let output = std::fs::File::create(&log)?;

        Command::new("setsid")
            .args(Self::boot(&this_program()?, self.supervisor.socket(), logs))
            .env_clear()
            .envs([("PATH", path), ("HOME", "/root"), ("LANG", "C.UTF-8")])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start setsid")?;

        until("the supervisor answers", Duration::from_secs(10), || {
            self.supervisor
                .pid()
                .map(drop)
                .with_context(|| format!("its log says:\n{}", tail(&log)))
        })
    }

    /// Whether the supervisor lives and the namespaces were set up to the end.
    ///
    /// # Errors
    /// The supervisor lives, but nothing can be run beside it.
    pub fn is_set_up(&self) -> Result<bool> {
        if self.supervisor.pid().is_none() {
            return Ok(false);
        }
        let script = format!("if test -e {MARKER}; then echo yes; fi");
        Ok(self.run(&["sh", "-c", &script])?.trim() == "yes")
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
        let pid = self
            .supervisor
            .pid()
            .with_context(|| self.supervisor.away())?;
        let mut command = Command::new("nsenter");
        command.args([
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--target",
            &pid.to_string(),
        ]);
        command
            .arg(format!("--wdns={}", text(std::env::current_dir()?)))
            .arg("--")
            .args(argv);
        without_proxy(&mut command);
        Ok(command)
    }

    /// Runs a command inside and returns what it printed.
    ///
    /// # Errors
    /// The supervisor is away, or the command fails; the text has what it printed on stderr.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        output(&mut self.command(argv)?)
    }

    /// Ends the supervisor at once and with it everything inside, if it lives; returns when all of
    /// it is gone.
    ///
    /// # Errors
    /// It lives on.
    pub fn kill(&self) -> Result<()> {
        self.end(|pid| Ok(kill(pid, Signal::SIGKILL)?))
    }

    /// Ends every part, the last started first, and then the supervisor, if it lives; returns when
    /// all of it is gone.
    ///
    /// # Errors
    /// It lives on.
    pub fn shutdown(&self) -> Result<()> {
        self.end(|_| self.supervisor.shutdown())
    }

    /// The socket is closed before the kernel has ended what ran below: the process itself tells.
    fn end(&self, how: impl FnOnce(Pid) -> Result<()>) -> Result<()> {
        let Some(pid) = self.supervisor.pid().map(Pid::from_raw) else {
            return Ok(());
        };

        how(pid)?;
        until(
            "the supervisor ends",
            Duration::from_secs(20),
            || match kill(pid, None) {
                Err(Errno::ESRCH) => Ok(()),
                _ => bail!("pid {pid} lives"),
            },
        )
    }
}
