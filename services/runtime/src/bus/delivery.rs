//! One message: decoded, handled, answered.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use sequencer_proto::Message as _;
use sequencer_proto::topics::Command;
use sequencer_proto::v1::CommandPayload;
use tokio::time::{Instant, interval_at};
use tracing::{Instrument as _, Span, error, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::carrier;
use super::singleflight::Singleflight;
use crate::error::catch_panic;
use crate::handles::Handles;
use crate::telemetry::{Handled, VerbLabel};

/// What a handler is asked to handle.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The object and the verb.
    pub command: Command,
    /// The object's name and why it was sent: hints.
    pub payload: CommandPayload,
    /// Whether it was delivered before and never answered: whoever had it may have died of it.
    pub again: bool,
}

/// How handling ended. All but the last are acknowledged: the object itself says what is left to
/// do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it should be.
    Done,
    /// There is no such object.
    Gone,
    /// The object does not need this any more.
    Stale,
    /// Somebody else works at it.
    ClaimedElsewhere,
    /// A failure, or when to try again, stands in the object's status.
    Recorded,
    /// The status could not be written: the message comes again.
    NotRecorded,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Gone => "gone",
            Self::Stale => "stale",
            Self::ClaimedElsewhere => "claimed_elsewhere",
            Self::Recorded => "recorded",
            Self::NotRecorded => "not_recorded",
        }
    }
}

/// Hands messages to their handler, one at a time for each subject.
pub(super) struct Dispatcher {
    handles: Handles,
    pub(super) singleflight: Singleflight<Message>,
}

impl Dispatcher {
    pub(super) fn new(handles: Handles) -> Self {
        Self {
            handles,
            singleflight: Singleflight::default(),
        }
    }

    /// Handles a message and whatever of its subject comes meanwhile. `progress` is the time
    /// between signs of life.
    pub(super) async fn work<H, F>(&self, first: Message, progress: Duration, handler: &H)
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Outcome> + Send,
    {
        let subject = first.subject.to_string();
        let mut next = Some(first);
        while let Some(message) = next {
            self.handle(&subject, message, progress, handler).await;
            next = self.singleflight.next(&subject);
            if self.handles.shutdown.is_stopping()
                && let Some(waiting) = next.take()
            {
                answer(waiting.ack_with(AckKind::Nak(None)).await);
                self.singleflight.next(&subject);
            }
        }
    }

    async fn handle<H, F>(&self, subject: &str, message: Message, progress: Duration, handler: &H)
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Outcome> + Send,
    {
        let Some(delivery) = decode(&message) else {
            warn!(subject, "Dropped an undecodable message");
            self.handles.metrics.undecodable.inc();
            answer(message.double_ack_with(AckKind::Term).await);
            return;
        };

        let verb = delivery.command.verb().word();
        let span = span(&delivery, &message);
        let metrics = &self.handles.metrics;
        let begun = Instant::now();

        metrics.in_flight.inc();
        let handled = catch_panic(async { handler(delivery).await }).instrument(span.clone());
        let handled = self
            .keep_alive(subject, &message, progress, Box::pin(handled))
            .await;

        metrics.in_flight.dec();
        metrics
            .seconds
            .get_or_create(&VerbLabel { verb })
            .observe(begun.elapsed().as_secs_f64());

        let outcome = match handled {
            Some(Ok(outcome)) => {
                if outcome != Outcome::NotRecorded {
                    answer(message.double_ack().instrument(span).await);
                }
                outcome.word()
            }
            Some(Err(_panic)) => {
                error!(subject, "Handler panicked");
                "panicked"
            }
            None => {
                answer(message.ack_with(AckKind::Nak(None)).await);
                "given_back"
            }
        };

        metrics
            .handled
            .get_or_create(&Handled { verb, outcome })
            .inc();
    }

    /// Waits for a handler and says meanwhile that it is alive; nothing if it has to be given back.
    async fn keep_alive<T>(
        &self,
        subject: &str,
        message: &Message,
        progress: Duration,
        mut handled: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        let mut signs = interval_at(
            Instant::now() + progress,
            progress.max(Duration::from_millis(1)),
        );
        loop {
            tokio::select! {
                biased;
                handled = &mut handled => return Some(handled),
                () = self.handles.shutdown.cutting_off() => return None,
                _ = signs.tick() => {
                    answer(message.ack_with(AckKind::Progress).await);
                    if let Some(waiting) = self.singleflight.waiting(subject) {
                        answer(waiting.ack_with(AckKind::Progress).await);
                    }
                }
            }
        }
    }
}

fn decode(message: &Message) -> Option<Delivery> {
    let command: Command = message.subject.parse().ok()?;
    let payload = CommandPayload::decode(message.payload.clone()).ok()?;
    let again = message.info().is_ok_and(|info| info.delivered > 1);

    command.agrees(&payload).then_some(Delivery {
        command,
        payload,
        again,
    })
}

fn span(delivery: &Delivery, message: &Message) -> Span {
    let Delivery {
        command, payload, ..
    } = delivery;
    let span = info_span!("handle", verb = command.verb().word(), uid = %command.uid(), workspace = %command.workspace(),
        namespace = payload.namespace, name = payload.name);

    if let Some(context) = carrier::extract(message.headers.as_ref()) {
        // It fails only where there are no traces.
        drop(span.set_parent(context));
    }

    span
}

/// An answer that does not arrive makes the message come again, and nothing else.
pub(super) fn answer<E: std::fmt::Display>(sent: Result<(), E>) {
    if let Err(error) = sent {
        warn!(%error, "NATS did not take an answer");
    }
}
