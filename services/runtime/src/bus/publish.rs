//! Sending.

use std::error::Error;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishError as JetStreamError;
use sequencer_proto::Message;
use sequencer_proto::topics::{BuildLog, Command, Event, MAX_COMMAND, MAX_PAYLOAD};
use sequencer_proto::v1::{CommandPayload, Line, Progress, Trigger};
use thiserror::Error;

use super::{Bus, carrier, lines};

/// A message was not stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It is too long.
    #[error("the message has {0} bytes and may have {1}")]
    Long(usize, usize),
    /// The stream is not there, or NATS does not answer.
    #[error("NATS did not store the message")]
    Stream(#[source] Box<dyn Error + Send + Sync>),
}

impl From<JetStreamError> for PublishError {
    fn from(error: JetStreamError) -> Self {
        Self::Stream(error.into())
    }
}

impl Bus {
    /// Publishes a command for its handler, now or when there is one. A repeat replaces the one before,
    /// and is delivered again even if that is being handled.
    ///
    /// # Errors
    /// It is not stored; the next resync sends it again.
    pub async fn publish(
        &self,
        command: &Command,
        namespace: &str,
        name: &str,
        trigger: Trigger,
    ) -> Result<(), PublishError> {
        self.publish_payload(command, &command.payload(namespace, name, trigger))
            .await
    }

    /// As [`Bus::publish`], with a payload that says more.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_payload(
        &self,
        command: &Command,
        payload: &CommandPayload,
    ) -> Result<(), PublishError> {
        self.store(
            command.to_string(),
            carrier::inject(command.workspace()),
            encode(payload, MAX_COMMAND)?,
        )
        .await?;
        self.handles.metrics.published.inc();
        Ok(())
    }

    /// Tells people's tools of progress.
    ///
    /// # Errors
    /// It is not stored. Nothing depends on it.
    pub async fn progress(&self, event: &Event, progress: &Progress) -> Result<(), PublishError> {
        let payload = encode(progress, MAX_PAYLOAD)?;
        self.store(event.to_string(), carrier::inject(event.workspace), payload)
            .await
    }

    /// Appends lines to a build's log, in as many messages as they need. A line that is longer than
    /// a message is cut.
    ///
    /// # Errors
    /// Not all of them are stored.
    pub async fn log(&self, log: &BuildLog, lines: Vec<Line>) -> Result<(), PublishError> {
        for batch in lines::batches(lines, MAX_PAYLOAD) {
            self.store(log.to_string(), HeaderMap::new(), batch.encode_to_vec())
                .await?;
        }
        Ok(())
    }

    /// No Nats-Msg-Id: it would swallow repeats, which are needed.
    #[expect(clippy::disallowed_methods, reason = "the one place that sends")]
    async fn store(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> Result<(), PublishError> {
        self.context
            .publish_with_headers(subject, headers, payload.into())
            .await?
            .await?;
        Ok(())
    }
}

fn encode(message: &impl Message, most: usize) -> Result<Vec<u8>, PublishError> {
    let length = message.encoded_len();
    if length <= most {
        Ok(message.encode_to_vec())
    } else {
        Err(PublishError::Long(length, most))
    }
}
