//! Signals. A step runs under BuildKit's uid, so it may send any to any process of the container,
//! also to the first one.

use std::io;

use nix::errno::Errno;
use nix::libc::SI_USER;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use tokio::sync::mpsc;

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caught {
    Children,
    /// Come to an end.
    End,
    /// Nothing: a process of the container sent it.
    FromInside,
}

#[derive(Debug)]
pub(super) struct Signals(SigSet);

impl Signals {
    /// Blocks them in this thread, and in all that it starts.
    pub(super) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Reads them from now on.
    pub(super) fn catch(self) -> io::Result<Catch> {
        let fd = SignalFd::with_flags(&self.0, SfdFlags::SFD_CLOEXEC)?;
        // Few: while nobody takes them, the kernel keeps one of each, however many are sent.
        let (sender, receiver) = mpsc::channel(2);
        let read = move || {
            loop {
                match fd.read_signal() {
                    Ok(Some(info)) if sender.blocking_send(judge(&info)).is_ok() => {}
                    Err(Errno::EINTR) => {}
                    _ => break,
                }
            }
        };

        std::thread::Builder::new()
            .name("signals".into())
            .spawn(read)?;
        Ok(Catch(receiver))
    }
}

#[derive(Debug)]
pub(super) struct Catch(mpsc::Receiver<Caught>);

impl Catch {
    pub(super) async fn next(&mut self) -> io::Result<Caught> {
        self.0
            .recv()
            .await
            .ok_or_else(|| io::Error::other("signals cannot be read"))
    }
}

/// The kernel gives the sender's pid as this process would see it: 0 for one outside the pid
/// namespace. A sender may make up a pid, but not together with [`SI_USER`], which only the kernel
/// writes for another process.
fn judge(info: &siginfo) -> Caught {
    if info.ssi_signo == Signal::SIGCHLD as u32 {
        return Caught::Children;
    }
    if info.ssi_pid == 0 && info.ssi_code == SI_USER {
        Caught::End
    } else {
        Caught::FromInside
    }
}
