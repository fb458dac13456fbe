//! The connection between a connector and the edge: TLS, one message each way, then HTTP/2 with the
//! edge as client.
//!
//! Requests for a host go to that host. Requests for [`CONTROL`] are the edge's own: a PUT of
//! [`CONFIGURATION`] hands over the ingress rules, and a GET of [`REGISTERED`] says that the
//! connection is in use; its answer ends when the connector leaves.
pub(crate) mod accept;

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use crate::tunnel::Token;

/// An authority no zone can hold.
pub(crate) const CONTROL: &str = "control.argotunnel.internal";
pub(crate) const CONFIGURATION: &str = "/configuration";
pub(crate) const REGISTERED: &str = "/registered";

/// Marks an answer the connector made itself, as cloudflared does.
pub(crate) const META: &str = "cf-cloudflared-response-meta";
pub(crate) const META_CLOUDFLARED: &str = r#"{"src":"cloudflared"}"#;

const LONGEST: u32 = 64 * 1024;

#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    #[serde(flatten)]
    pub(crate) token: Token,
    pub(crate) connector: Uuid,
    pub(crate) version: String,
    pub(crate) arch: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Accepted { connection: Uuid, location: String },
    Refused { error: String },
}

/// The body of a PUT of [`CONFIGURATION`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) version: u64,
    pub(crate) config: serde_json::Value,
}

pub(crate) async fn send<M: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &M,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_u32(length).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

pub(crate) async fn receive<M: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<M> {
    let length = stream.read_u32().await?;
    if length > LONGEST {
        return Err(io::Error::other("the message is too long"));
    }

    let mut bytes = Vec::new();
    stream
        .take(u64::from(length))
        .read_to_end(&mut bytes)
        .await?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_reads_back_and_a_cut_or_long_one_does_not() {
        let reply = Reply::Refused { error: "no".into() };
        let mut wire = Vec::new();
        send(&mut wire, &reply).await.unwrap();
        assert!(
            matches!(receive(&mut wire.as_slice()).await.unwrap(), Reply::Refused { error } if error == "no")
        );

        let cut = wire.len() - 1;
        assert!(
            receive::<Reply>(&mut wire.get(..cut).unwrap())
                .await
                .is_err()
        );
        assert!(
            receive::<Reply>(&mut [0xff_u8; 8].as_slice())
                .await
                .is_err()
        );
    }
}
