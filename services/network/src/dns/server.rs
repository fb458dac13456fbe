//! A name server: one message there and back, by UDP and, where that does not do, by TCP.
//!
//! On `hickory-proto` alone and not on the exchanges of `hickory-net`, which keep a connection and a
//! background task for each server: here many servers are asked once each, and a signature is
//! checked over the very bytes of an answer (RFC 8945, section 5.3).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a datagram may take.
const DATAGRAM: Duration = Duration::from_secs(2);
/// How long a connection and its answer may take.
const CONNECTION: Duration = Duration::from_secs(5);
/// How often a datagram is sent.
const TRIES: usize = 2;
const LARGEST: usize = 4096;

/// A name server does not answer.
#[derive(Debug, Error)]
pub enum Silent {
    /// Not in time.
    #[error("no answer in time")]
    Timeout,
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Io(#[from] io::Error),
    /// It answers something else.
    #[error("an answer of another form")]
    Form,
    /// It says that it cannot.
    #[error("it answers {0}")]
    Code(ResponseCode),
}

/// Sends one message and returns the answer's bytes.
///
/// # Errors
/// See [`Silent`].
pub async fn exchange(server: SocketAddr, message: &Message) -> Result<Vec<u8>, Silent> {
    let bytes = message.to_vec().map_err(|_error| Silent::Form)?;

    for _try in 0..TRIES {
        match timeout(DATAGRAM, datagram(server, message.metadata.id, &bytes)).await {
            Ok(Ok(answer)) if !truncated(&answer) => return Ok(answer),
            Ok(Ok(_)) => break,
            Ok(Err(_)) | Err(_) => {}
        }
    }

    match timeout(CONNECTION, connection(server, &bytes)).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(Silent::Timeout),
    }
}

async fn datagram(server: SocketAddr, id: u16, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };

    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.get(..2) == Some(&id.to_be_bytes()) {
            return Ok(answer.to_vec());
        }
    }
}

async fn connection(server: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;

    stream
        .write_all(&[&length.to_be_bytes(), bytes].concat())
        .await?;

    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The TC bit.
fn truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// What a server has of one type at a name. A name that does not exist has nothing.
///
/// # Errors
/// See [`Silent`].
pub async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    recursive: bool,
) -> Result<Vec<(u32, RData)>, Silent> {
    let mut message = Message::query();
    message.metadata.recursion_desired = recursive;
    message.add_query(Query::query(name.clone(), kind));
    let answer = exchange(server, &message).await?;
    let answer = Message::from_vec(&answer).map_err(|_error| Silent::Form)?;
    if answer.metadata.id != message.metadata.id || answer.queries != message.queries {
        return Err(Silent::Form);
    }

    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(Silent::Code(code)),
    }

    // A server that knows an alias says what it leads to: those have another owner.
    let own = answer
        .answers
        .into_iter()
        .filter(|record| record.name == *name || recursive);

    Ok(own
        .filter(|record| record.record_type() == kind)
        .map(|record| (record.ttl, record.data))
        .collect())
}
