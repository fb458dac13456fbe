//! Stands between a service and NATS: passes its protocol on, and breaks commands and their
//! acknowledgements.
//!
//! Text lines with payloads: <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader,
};
use tokio::net::TcpStream;

use super::breaker::{Asked, Breaker};
use super::listen;
use super::plan::{Act, Fault, Port, When};
use crate::programs::Service;
use crate::world::lose_messages;

/// Longer than NATS waits for an acknowledgement here.
const LATE: Duration = Duration::from_secs(7);

pub(crate) struct Door {
    pub(crate) service: Service,
    /// Where NATS is.
    pub(crate) nats: SocketAddr,
    pub(crate) breaker: Arc<Breaker>,
}

/// What both directions of a connection know.
#[derive(Default)]
struct Known {
    /// The subject of each command that the service got, by where it is acknowledged.
    commands: Mutex<HashMap<String, String>>,
    /// The inboxes whose next message is lost.
    lost: Mutex<HashSet<String>>,
}

/// A line, and the payload that it announces.
struct Frame {
    line: String,
    payload: Vec<u8>,
}

impl Door {
    /// Stands at this address.
    pub(crate) async fn open(self, address: SocketAddr) -> Result<()> {
        let door = Arc::new(self);
        listen(address, move |service| {
            let door = door.clone();
            async move { door.pass(service).await }
        })
        .await
    }

    /// Until one side hangs up, or it breaks.
    async fn pass(&self, mut service: TcpStream) -> Result<()> {
        let mut nats = TcpStream::connect(self.nats).await?;
        service.set_nodelay(true)?;
        nats.set_nodelay(true)?;
        let (from_service, to_service) = service.split();
        let (from_nats, to_nats) = nats.split();
        let known = Known::default();

        tokio::select! {
            ended = self.acts(BufReader::new(from_service), to_nats, &known) => ended,
            ended = answers(BufReader::new(from_nats), to_service, &known) => ended,
        }
    }

    /// What the service says.
    async fn acts(
        &self,
        mut from: impl AsyncBufRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        known: &Known,
    ) -> Result<()> {
        while let Some(frame) = Frame::read(&mut from).await? {
            let breaks = self.asked(&frame, known);
            match breaks {
                None => frame.write(&mut to).await?,
                Some((life, (When::Before, fault))) => match fault {
                    Fault::Kill => return self.breaker.kill(self.service).await,
                    Fault::Cut => return Ok(()),
                    // It is lost.
                    Fault::Hang => {}
                    Fault::Late => {
                        tokio::time::sleep(LATE).await;
                        frame.write(&mut to).await?;
                    }
                    Fault::Twice => {
                        frame.write(&mut to).await?;
                        frame.write(&mut to).await?;
                    }
                    Fault::Wipe => {
                        lose_messages(&format!("nats://{}", self.nats)).await?;
                        frame.write(&mut to).await?;
                    }
                    Fault::Ended => {
                        self.breaker.end(life).await?;
                        frame.write(&mut to).await?;
                    }
                    _ => bail!("{fault:?} of a message"),
                },
                Some((life, (When::After, fault))) => {
                    // The answer is lost; an acknowledgement has none.
                    if let Some(inbox) = frame.reply() {
                        lock(&known.lost).insert(inbox.to_owned());
                    }
                    frame.write(&mut to).await?;
                    match fault {
                        Fault::Kill | Fault::EndedAndKill => {
                            to.flush().await?;
                            if fault.is_end() {
                                self.breaker.end(life).await?;
                            }
                            return self.breaker.kill(self.service).await;
                        }
                        Fault::Cut => return Ok(()),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// What happens to it, if it is a command or the acknowledgement of one.
    fn asked(&self, frame: &Frame, known: &Known) -> Option<(usize, (When, Fault))> {
        let (verb, subject) = (frame.word(0)?, frame.word(1)?);
        if !matches!(verb, "PUB" | "HPUB") {
            return None;
        }
        let (what, command) = if subject.starts_with("$JS.ACK.") {
            let said = String::from_utf8_lossy(&frame.payload);
            let said = said
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            (said, lock(&known.commands).get(subject)?.clone())
        } else {
            ("publish".to_owned(), subject.to_owned())
        };
        // `seq.v1.cmd.<service>.<verb>.`
        let verb = command.strip_prefix("seq.v1.cmd.")?.split('.').nth(1)?;

        let act = Act {
            service: self.service,
            port: Port::Nats,
            what: format!("{what} {verb}"),
        };
        let (life, breaks) = self.breaker.asked(Asked {
            act,
            path: &command,
            is_named: true,
            body: &[],
        })?;
        Some((life, breaks?))
    }
}

/// What NATS says.
async fn answers(
    mut from: impl AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    known: &Known,
) -> Result<()> {
    while let Some(frame) = Frame::read(&mut from).await? {
        let subject = frame.word(1).unwrap_or_default();
        if lock(&known.lost).remove(subject) {
            continue;
        }
        if let Some(reply) = frame.reply().filter(|reply| reply.starts_with("$JS.ACK.")) {
            lock(&known.commands).insert(reply.to_owned(), subject.to_owned());
        }
        frame.write(&mut to).await?;
    }
    Ok(())
}

impl Frame {
    /// Nothing at the end.
    async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        ensure!(line.ends_with("\r\n"), "half a line");
        let mut frame = Self {
            line,
            payload: Vec::new(),
        };

        if matches!(frame.word(0), Some("PUB" | "HPUB" | "MSG" | "HMSG")) {
            let size = frame.line.split_whitespace().next_back();
            let size: usize = size.context("no size")?.parse()?;
            frame.payload = vec![0; size + 2];
            from.read_exact(&mut frame.payload).await?;
        }
        Ok(Some(frame))
    }

    async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        to.write_all(self.line.as_bytes()).await?;
        to.write_all(&self.payload).await?;
        Ok(())
    }

    fn word(&self, at: usize) -> Option<&str> {
        self.line.split_whitespace().nth(at)
    }

    /// Where an answer is expected: `PUB subject [reply] size`, `HPUB subject [reply] size size`,
    /// `MSG subject sid [reply] size`, `HMSG subject sid [reply] size size`.
    fn reply(&self) -> Option<&str> {
        let words = self.line.split_whitespace().count();
        let (at, without) = match self.word(0)? {
            "PUB" => (2, 3),
            "HPUB" => (2, 4),
            "MSG" => (3, 4),
            "HMSG" => (3, 5),
            _ => return None,
        };
        (words > without).then(|| self.word(at)).flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
