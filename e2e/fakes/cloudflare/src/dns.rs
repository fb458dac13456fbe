//! The name server of the zone, over UDP and TCP.
mod answer;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::DNSClass,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

pub(crate) use self::answer::NAME_SERVERS;
use self::answer::{View, answer};
use crate::{cloud::Cloud, listen, tasks::Tasks};

/// What a client without EDNS takes in one datagram, and what we send at most.
const DATAGRAM: u16 = 512;
const LARGEST_DATAGRAM: u16 = 1_232;
/// How long a TCP client may stay silent.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) async fn udp(socket: UdpSocket, cloud: Arc<Cloud>) {
    let mut buffer = [0; 4_096];
    loop {
        let replied = match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                match reply(&cloud, buffer.get(..length).unwrap_or_default(), true) {
                    Some(reply) => socket.send_to(&reply, peer).await.map(|_| ()),
                    None => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = replied {
            tracing::debug!(%error, "a datagram is lost");
        }
    }
}

pub(crate) async fn tcp(listener: TcpListener, cloud: Arc<Cloud>, tasks: Tasks) {
    listen::accept(listener, tasks, |stream, peer: SocketAddr| {
        let cloud = cloud.clone();
        async move {
            if let Err(error) = conversation(stream, &cloud).await {
                tracing::debug!(%peer, %error, "a DNS client left");
            }
        }
    })
    .await;
}

async fn conversation(mut stream: TcpStream, cloud: &Cloud) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;

        let Some(reply) = reply(cloud, &query, false) else {
            return Ok(());
        };

        stream
            .write_u16(u16::try_from(reply.len()).map_err(io::Error::other)?)
            .await?;
        stream.write_all(&reply).await?;
    }
}

/// The bytes that answer a query; nothing for what is not a query at all.
fn reply(cloud: &Cloud, bytes: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(bytes).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }

    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.queries.clone_from(&query.queries);
    match (query.metadata.op_code, query.queries.as_slice()) {
        (OpCode::Query, [question]) if question.query_class() == DNSClass::IN => {
            let found = cloud.store.read(|data| {
                let view = View {
                    zone: &cloud.zone.name,
                    served: cloud.served,
                    serial: data.revision,
                    records: &data.records,
                };
                answer(&view, question.name(), question.query_type())
            });
            reply.metadata.response_code = found.code;
            reply.metadata.authoritative = found.authoritative;
            reply.answers = found.answers;
            reply.authorities = found.authorities;
        }
        (OpCode::Query, [_]) => reply.metadata.response_code = ResponseCode::Refused,
        (OpCode::Query, _) => reply.metadata.response_code = ResponseCode::FormErr,
        _ => reply.metadata.response_code = ResponseCode::NotImp,
    }

    let mut room = DATAGRAM;

    if let Some(edns) = &query.edns {
        room = edns.max_payload().clamp(DATAGRAM, LARGEST_DATAGRAM);
        let mut own = Edns::new();
        own.set_max_payload(LARGEST_DATAGRAM);
        reply.edns = Some(own);
    }

    let bytes = reply.to_vec().ok()?;
    if datagram && bytes.len() > usize::from(room) {
        return reply.truncate().to_vec().ok();
    }

    Some(bytes)
}
