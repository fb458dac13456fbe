//! WebSockets: an upgrade in HTTP/1.1, an extended CONNECT in HTTP/2, and bytes between the two.
use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;

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
