//! WebSockets: an upgrade in HTTP/1.1, an extended CONNECT in HTTP/2, and bytes between the two.
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::tasks::Tasks;

const WEBSOCKET: &str = "websocket";

/// Whether an HTTP/1.1 message asks for, or agrees to, a WebSocket.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// Adds the fields of an HTTP/1.1 upgrade.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// Passes the bytes of a connection both ways, as the messages of a WebSocket that the other side
/// begins.
pub(crate) fn carry(tasks: &Tasks, edge: OnUpgrade, mut stream: TcpStream) {
    tasks.spawn(async move {
        let Ok(edge) = edge.await else { return };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(edge), Role::Server, None).await;
        let mut bytes = vec![0; 16 * 1024];

        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(message)) if message.is_binary() || message.is_text() => {
                        if stream.write_all(&message.into_data()).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(_control)) => {}
                },
                read = stream.read(&mut bytes) => match read {
                    Ok(length @ 1..) => {
                        let message = bytes.get(..length).unwrap_or_default().to_vec();
                        if socket.send(Message::binary(message)).await.is_err() {
                            return;
                        }
                    }
                    Ok(0) | Err(_) => {
                        drop(socket.close(None).await);
                        return;
                    }
                },
            }
        }
    });
}

/// Passes bytes both ways once both sides have changed over.
pub(crate) fn join(tasks: &Tasks, one: OnUpgrade, other: OnUpgrade) {
    tasks.spawn(async move {
        let joined = async {
            let (one, other) = tokio::try_join!(one, other).map_err(std::io::Error::other)?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(one), &mut TokioIo::new(other)).await
        };
        if let Err(error) = joined.await {
            tracing::debug!(%error, "a WebSocket broke");
        }
    });
}
