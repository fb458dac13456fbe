//! PID 1 of a namespace: it starts parts, watches them, reaps whatever is orphaned, and ends them.
//! It decides nothing: the commands outside do, over its socket. When it dies the kernel ends
//! everything below it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::control::{Answer, Health, Request};
use crate::layout::text;
use crate::part::Part;
use crate::process::{silent, tail};

/// How often a part that is starting is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What a part gets between SIGTERM and SIGKILL when everything ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

struct Child {
    part: Part,
    pid: Pid,
    ended: Option<String>,
}

#[derive(Default)]
struct Table {
    /// In the order of their start.
    children: Vec<Child>,
    /// Readiness commands under way, and whether they succeeded once they ended. They stand here
    /// because the reaper collects them too: nobody else may wait for a child.
    commands: BTreeMap<Pid, Option<bool>>,
}

struct Shared {
    table: Mutex<Table>,
    reaped: Condvar,
    logs: PathBuf,
}

/// Serves `socket` until it is told to shut down or gets SIGTERM.
///
/// # Errors
/// The socket cannot be bound, or signals cannot be caught.
pub fn run(socket: &Path, logs: &Path) -> Result<()> {
    let shared = Arc::new(Shared {
        table: Mutex::default(),
        reaped: Condvar::new(),
        logs: logs.to_path_buf(),
    });
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT])?;
    let reaper = Arc::clone(&shared);

    std::thread::spawn(move || {
        for signal in &mut signals {
            if signal == SIGCHLD {
                reaper.reap();
            } else {
                reaper.shutdown();
                std::process::exit(0);
            }
        }
    });

    if socket.exists() {
        std::fs::remove_file(socket)?;
    }

    let listener = UnixListener::bind(socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    for stream in listener.incoming() {
        // A connection that failed is its caller's matter.
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(&shared);

        std::thread::spawn(move || {
            if let Err(error) = shared.answer(&stream) {
                eprintln!("a request could not be answered: {error:#}");
            }
        });
    }

    Ok(())
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects every child that ended, ours and those that lost their parent.
    fn reap(&self) {
        let mut table = self.table();
        loop {
            let (pid, success, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    (pid, code == 0, format!("exited with status {code}"))
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, false, format!("was killed by {signal}"))
                }
                Err(Errno::EINTR) => continue,
                _ => break,
            };

            if let Some(command) = table.commands.get_mut(&pid) {
                *command = Some(success);
            }

            if let Some(child) = table
                .children
                .iter_mut()
                .find(|child| child.pid == pid && child.ended.is_none())
            {
                child.ended = Some(how);
            }
        }

        drop(table);
        self.reaped.notify_all();
    }

    fn answer(&self, mut stream: &UnixStream) -> Result<()> {
        let mut line = String::new();
        if BufReader::new(stream).read_line(&mut line)? == 0 {
            return Ok(());
        }

        let request: Request = serde_json::from_str(&line)?;
        let last = matches!(request, Request::Shutdown);
        let answer = match self.carry_out(request) {
            Ok(parts) => Answer::Parts(parts),
            Err(error) => Answer::Error(format!("{error:#}")),
        };

        let mut answer = serde_json::to_string(&answer)?;
        answer.push('\n');
        stream.write_all(answer.as_bytes())?;
        if last {
            std::process::exit(0);
        }

        Ok(())
    }

    fn carry_out(&self, request: Request) -> Result<Vec<Health>> {
        match request {
            Request::Start(part) => self.start(part)?,
            Request::Stop { name, grace } => {
                self.stop(&name, Duration::from_secs(grace))?;
                self.table()
                    .children
                    .retain(|child| child.part.name != name);
            }
            Request::Kill { name } => self.stop(&name, Duration::ZERO)?,
            Request::List => return Ok(self.list()),
            Request::Shutdown => self.shutdown(),
        }
        Ok(Vec::new())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn start(&self, part: Part) -> Result<()> {
        let name = part.name.clone();
        let other =
            self.table().children.iter().any(|child| {
                child.part.name == name && child.ended.is_none() && child.part != part
            });
        if other {
            self.stop(&name, SHUTDOWN_GRACE)?;
        }

        let log = self.log(&name);
        {
            // The lock is held over the spawn, so that the reaper finds the child in the table
            // however soon it ends.
            let mut table = self.table();
            if !table
                .children
                .iter()
                .any(|child| child.part.name == name && child.ended.is_none())
            {
                let pid = Pid::from_raw(i32::try_from(part.spawn(&log)?.id())?);
                table.children.retain(|child| child.part.name != name);
                table.children.push(Child {
                    part: part.clone(),
                    pid,
                    ended: None,
                });
            }
        }
        self.wait_ready(&part, &log)
    }

    fn ready(&self, part: &Part) -> bool {
        part.ready
            .holds(|argv| self.succeeds(argv).unwrap_or(false))
    }

    /// Runs a command to its end. None if it cannot be started.
    fn succeeds(&self, argv: &[String]) -> Option<bool> {
        let mut table = self.table();
        let pid = Pid::from_raw(i32::try_from(silent(argv)?.spawn().ok()?.id()).ok()?);
        table.commands.insert(pid, None);
        loop {
            if let Some(Some(success)) = table.commands.get(&pid).copied() {
                table.commands.remove(&pid);
                return Some(success);
            }
            table = self
                .reaped
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_ready(&self, part: &Part, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(part.patience);
        loop {
            let ended = self
                .table()
                .children
                .iter()
                .find(|child| child.part.name == part.name)
                .map(|c| c.ended.clone());
            match ended {
                None => bail!("{} was stopped while it started", part.name),
                Some(Some(how)) => bail!("{} {how}\n{}", part.name, tail(log)),
                Some(None) if self.ready(part) => return Ok(()),
                Some(None) if Instant::now() > deadline => {
                    bail!(
                        "{} is not ready after {} s; its log says:\n{}",
                        part.name,
                        part.patience,
                        tail(log)
                    )
                }
                Some(None) => std::thread::sleep(LOOK),
            }
        }
    }

    fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        let mut table = self.table();
        let Some(pid) = table
            .children
            .iter()
            .find(|child| child.part.name == name)
            .map(|child| child.pid)
        else {
            bail!("there is no part {name}");
        };

        let alive = |table: &Table| {
            table
                .children
                .iter()
                .any(|child| child.pid == pid && child.ended.is_none())
        };

        let deadline = Instant::now() + grace;

        if alive(&table) && !grace.is_zero() {
            kill(pid, Signal::SIGTERM)?;
            while alive(&table) && Instant::now() < deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                table = self
                    .reaped
                    .wait_timeout(table, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }

        if alive(&table) {
            kill(pid, Signal::SIGKILL)?;
            while alive(&table) {
                table = self
                    .reaped
                    .wait(table)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }

        Ok(())
    }

    fn list(&self) -> Vec<Health> {
        let seen: Vec<_> = self
            .table()
            .children
            .iter()
            .map(|child| (child.part.clone(), child.pid, child.ended.clone()))
            .collect();
        seen.into_iter()
            .map(|(part, pid, ended)| Health {
                ready: ended.is_none() && self.ready(&part),
                pid: ended.is_none().then_some(pid.as_raw()),
                log: text(self.log(&part.name)),
                name: part.name,
                ended,
            })
            .collect()
    }

    fn shutdown(&self) {
        let names: Vec<_> = self
            .table()
            .children
            .iter()
            .map(|child| child.part.name.clone())
            .rev()
            .collect();
        for name in names {
            eprintln!("stopping {name}");
            if let Err(error) = self.stop(&name, SHUTDOWN_GRACE) {
                eprintln!("{name} could not be stopped: {error:#}");
            }
        }
    }
}
