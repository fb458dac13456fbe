//! The first process of the BuildKit container: starts BuildKit, leases it to one namespace's build
//! after the other, and starts it anew wherever something of a build could meet the next one.
//!
//! Without a process sandbox, which a pod of today cannot have, the steps of a build are processes
//! of BuildKit's own pid namespace. They see each other, can kill BuildKit, and may outlive their
//! build. So nothing here trusts what a step can reach: whatever is not known leads to a fresh
//! BuildKit, and what cannot be made fresh ends the container, and with it every process in it.

mod args;
mod daemon;
mod house;
mod processes;
mod signals;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use nix::sys::signal::SigSet;
use sequencer_runtime::telemetry::Telemetry;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::args::{Mode, Supervise};
use self::daemon::{Daemon, Reaper};
use self::house::{End, House};
use self::signals::{Catch, Caught, Signals};
use crate::args::NAME;
use crate::lease::{BUILT, FAILED, FRESH, KEPT, LONGEST, LOST, UNAVAILABLE, namespace_of};

/// How long a client may take to say what it wants, to read an answer, and to hang up once BuildKit
/// is lost.
const WORD: Duration = Duration::from_secs(10);

/// How long BuildKit may take to end when the pod does.
const GRACE: Duration = Duration::from_secs(10);

/// Whether these are the arguments of one of the modes here, and not of the service.
#[must_use]
pub fn is_asked_for() -> bool {
    let word = std::env::args_os().nth(1);
    word.is_some_and(|word| args::WORDS.iter().any(|mode| word == *mode))
}

/// Runs the mode that the arguments name.
///
/// # Errors
/// It cannot go on.
pub fn run() -> Result<()> {
    match Mode::parse() {
        Mode::Install { folder } => install(&folder),
        Mode::Launch { command } => launch(&command),
        Mode::Supervise(args) => supervise(*args),
    }
}

/// Copies this program, so that a container of another image can run it.
fn install(folder: &Path) -> Result<()> {
    let (begun, done) = (folder.join(".builder"), folder.join(NAME));
    std::fs::copy("/proc/self/exe", &begun)
        .with_context(|| format!("cannot copy to {}", begun.display()))?;
    std::fs::set_permissions(&begun, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&begun, &done).with_context(|| format!("cannot make {}", done.display()))
}

/// Becomes this command, with every signal let through: a process keeps the mask that it was
/// started with.
fn launch(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    SigSet::empty().thread_set_mask()?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("cannot start {program}"))
}

fn supervise(args: Supervise) -> Result<()> {
    // It kills every process that it may. Outside a pid namespace of its own that would be
    // everything.
    let me = std::fs::read_link("/proc/self").context("cannot read /proc")?;
    ensure!(
        std::process::id() == 1 && me == Path::new("1"),
        "supervise has to be the first process of its container"
    );
    let _logs = Telemetry::start("supervisor", args.log_level.clone(), None)?;
    // Before there is a second thread, which would have a mask of its own.
    let signals = Signals::block()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(args, signals))
}

async fn serve(args: Supervise, signals: Signals) -> Result<()> {
    let mut caught = signals.catch()?;
    let listener = listen(&args.listen)?;
    let daemon = Daemon::new(&args.command, &args.daemon_socket);
    let reaper = daemon.reaper();
    let turns = if args.shared_processes {
        Semaphore::MAX_PERMITS
    } else {
        1
    };
    let supervisor = Arc::new(Supervisor {
        turns: Semaphore::new(turns),
        house: Mutex::new(House::new(daemon)),
        client: args.builder_uid,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(keep(Arc::clone(&supervisor)));
    loop {
        tokio::select! {
            signal = caught.next() => match signal? {
                Caught::Children => reaper.reap(),
                Caught::End => break,
                // Said quietly: whoever sends one may send many.
                Caught::FromInside => debug!("Ignored a signal of a process in the container"),
            },
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot take connections")?;
                let supervisor = Arc::clone(&supervisor);
                tasks.spawn(async move { supervisor.lease(stream).await });
            }
            // A panic, or a BuildKit that cannot be started or killed: the end of this process ends
            // all others.
            Some(ended) = tasks.join_next() => ended??,
        }
    }
    info!("Received SIGTERM");
    let end = async { supervisor.house.lock().await.end(GRACE).await };
    tokio::select! {
        // What is left then ends with this process.
        ended = timeout(GRACE * 2, end) => Ok(ended.unwrap_or(Ok(()))?),
        error = reap_on(&mut caught, &reaper) => Err(error.into()),
    }
}

/// Reaps, whatever the signal; returns if that fails.
async fn reap_on(caught: &mut Catch, reaper: &Reaper) -> std::io::Error {
    loop {
        match caught.next().await {
            Ok(_any) => reaper.reap(),
            Err(error) => return error,
        }
    }
}

/// As BuildKit's own socket: for its group alone.
fn listen(path: &PathBuf) -> Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Starts BuildKit, and again whenever it ended while nobody built.
async fn keep(supervisor: Arc<Supervisor>) -> Result<()> {
    loop {
        let mut ended = {
            let mut house = supervisor.house.lock().await;
            let ended = house.ended();
            house.keep().await?;
            ended
        };
        // As long as somebody builds, that lease's end makes it fresh.
        ended.changed().await?;
    }
}

/// What connections share.
struct Supervisor {
    turns: Semaphore,
    house: Mutex<House>,
    /// The uid that may ask for leases.
    client: u32,
}

impl Supervisor {
    /// One connection: a line that asks, a line that answers, and then the lease lasts as long as
    /// the connection.
    async fn lease(&self, stream: UnixStream) -> Result<()> {
        let uid = stream.peer_cred().map(|peer| peer.uid());
        if !uid.as_ref().is_ok_and(|uid| *uid == self.client) {
            warn!(uid = uid.ok(), "Refused a client of another uid");
            return Ok(());
        }

        let (reading, mut writing) = stream.into_split();
        let mut reading = BufReader::new(reading);
        let asked = timeout(WORD, line(&mut reading)).await;
        let Some(namespace) = asked
            .ok()
            .flatten()
            .and_then(|asked| namespace_of(&asked).map(ToOwned::to_owned))
        else {
            warn!("A client did not ask for a lease");
            return Ok(());
        };

        let _turn = tokio::select! {
            turn = self.turns.acquire() => turn?,
            // There is nobody to answer: it hung up.
            _ = line(&mut reading) => return Ok(()),
        };

        let entered = self.house.lock().await.enter(&namespace).await?;
        let Some((fresh, mut ended)) = entered else {
            say(&mut writing, UNAVAILABLE).await;
            return Ok(());
        };

        say(&mut writing, if fresh { FRESH } else { KEPT }).await;

        let end = tokio::select! {
            word = line(&mut reading) => match word.as_deref() {
                Some(BUILT) => End::Built,
                Some(FAILED) => End::Failed,
                _ => End::GivenUp,
            },
            _ = ended.changed() => {
                say(&mut writing, LOST).await;
                drop(timeout(WORD, line(&mut reading)).await);
                End::GivenUp
            }
        };

        Ok(self.house.lock().await.leave(end).await?)
    }
}

/// The next line of a client; nothing if it hung up or says more than there is to say.
async fn line(reading: &mut BufReader<OwnedReadHalf>) -> Option<String> {
    let mut line = String::new();
    let length = (&mut *reading)
        .take(LONGEST)
        .read_line(&mut line)
        .await
        .ok()?;
    (length > 0).then(|| line.trim_end().to_owned())
}

/// Whoever does not listen any more will hang up.
async fn say(writing: &mut OwnedWriteHalf, word: &str) {
    drop(timeout(WORD, writing.write_all(format!("{word}\n").as_bytes())).await);
}
