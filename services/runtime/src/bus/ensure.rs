//! The watcher's part: streams and consumers exist, and exist again when they vanish.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::consumer::{
    self, AckPolicy, FromConsumer as _, IntoConsumerConfig as _, pull,
};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{ErrorCode, context};
use sequencer_proto::topics::{COMMANDS, Consumer, MAX_ACK_PENDING, Retention, STREAMS, Stream};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Bus, pause};
use crate::error::chain;

/// A stream or consumer cannot be had.
#[derive(Debug, Error)]
#[error("cannot make sure of {what}")]
pub struct EnsureError {
    /// Its name.
    pub what: String,
    source: Box<dyn Error + Send + Sync>,
}

/// What has to exist.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The consumers of commands, one per pool and service.
    pub consumers: Vec<Consumer>,
    /// How long a delivered command may stay without a sign of life.
    pub ack_wait: Duration,
    /// How often it is checked.
    pub every: Duration,
}

impl Bus {
    /// Makes what is missing, and changes what differs as far as NATS allows. Nothing is ever
    /// deleted, so a setting that cannot be changed in place stays as it is. Says whether something
    /// was missing.
    ///
    /// # Errors
    /// NATS does not answer, or refuses to make something.
    pub async fn ensure(&self, keep: &Keep) -> Result<bool, EnsureError> {
        let mut made = false;
        self.make(keep, &mut made).await?;
        Ok(made)
    }

    /// The same, and `made` is set as soon as something was missing, whatever comes after it.
    async fn make(&self, keep: &Keep, made: &mut bool) -> Result<(), EnsureError> {
        for wanted in &STREAMS {
            let ensured = self.ensure_stream(wanted).await;
            *made |= ensured.map_err(|source| EnsureError {
                what: wanted.name.into(),
                source,
            })?;
        }

        for wanted in &keep.consumers {
            let ensured = self.ensure_consumer(wanted, keep.ack_wait).await;
            *made |= ensured.map_err(|source| EnsureError {
                what: wanted.name.clone(),
                source,
            })?;
        }

        Ok(())
    }

    /// Does so again and again until shutdown; unready while something is missing. `made` is called
    /// once something was made, and at first: streams may have been empty, and what is unfinished has
    /// to be notified.
    pub async fn keep(&self, keep: Keep, made: impl Fn()) {
        let part = self.handles.readiness.part("streams and consumers");
        let mut is_made = true;
        loop {
            let ensured = self.make(&keep, &mut is_made).await;
            part.set(ensured.is_ok());
            match ensured {
                Ok(()) if std::mem::take(&mut is_made) => made(),
                Ok(()) => {}
                Err(error) => warn!(
                    what = error.what,
                    error = error.source,
                    "Failed to create streams and consumers"
                ),
            }

            if !pause(&self.handles, sleep(keep.every)).await {
                return;
            }
        }
    }

    async fn ensure_stream(&self, wanted: &Stream) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let found = match self.context.get_stream(wanted.name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) if missing_stream(&error) => {
                self.context
                    .create_stream(stream_config(wanted, stream::Config::default()))
                    .await?;
                info!(stream = wanted.name, "Created stream");
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };

        let config = stream_config(wanted, found.clone());
        if config != found
            && let Err(error) = self.context.update_stream(&config).await
        {
            let error = chain(&error);
            warn!(stream = wanted.name, error, "Failed to change stream");
        }

        Ok(false)
    }

    async fn ensure_consumer(
        &self,
        wanted: &Consumer,
        ack_wait: Duration,
    ) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let found: Result<consumer::Consumer<pull::Config>, _> = self
            .context
            .get_consumer_from_stream(&wanted.name, COMMANDS.name)
            .await;
        match found {
            Ok(found) => {
                let found = found.cached_info().config.clone();
                let config = consumer_config(
                    wanted,
                    ack_wait,
                    pull::Config::try_from_consumer_config(found.clone())?,
                );
                if config.clone().into_consumer_config() != found
                    && let Err(error) = self
                        .context
                        .create_consumer_on_stream(config, COMMANDS.name)
                        .await
                {
                    let error = chain(&error);
                    warn!(consumer = wanted.name, error, "Failed to change consumer");
                }
                Ok(false)
            }
            Err(error) if missing_consumer(&error) => {
                let config = consumer_config(wanted, ack_wait, pull::Config::default());
                self.context
                    .create_consumer_on_stream(config, COMMANDS.name)
                    .await?;
                info!(consumer = wanted.name, "Created consumer");
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn missing_consumer(error: &stream::ConsumerError) -> bool {
    use stream::ConsumerErrorKind::JetStream;
    matches!(error.kind(), JetStream(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}

fn missing_stream(error: &context::GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Ours over what is there: replicas, placement and the like are the operator's.
fn stream_config(wanted: &Stream, found: stream::Config) -> stream::Config {
    stream::Config {
        name: wanted.name.into(),
        subjects: vec![wanted.subjects.into()],
        retention: match wanted.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
        },
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_messages: wanted.max_messages.unwrap_or(-1),
        max_bytes: wanted.max_bytes,
        max_message_size: wanted.max_message_size,
        max_age: wanted.max_age,
        ..found
    }
}

fn consumer_config(wanted: &Consumer, ack_wait: Duration, found: pull::Config) -> pull::Config {
    pull::Config {
        durable_name: Some(wanted.name.clone()),
        filter_subject: wanted.filter.clone(),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        ..found
    }
}
