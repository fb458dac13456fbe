//! Receiving: a consumer's commands, only as many as there are free slots.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::jetstream::{self, AckKind};
use async_nats::{Message, StatusCode, Subject, Subscriber};
use futures_util::StreamExt as _;
use sequencer_proto::topics::{COMMANDS, Consumer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::delivery::{Dispatcher, answer};
use super::{Bus, Delivery, Outcome, pause};
use crate::error::chain;

/// How long NATS keeps a request for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often NATS says that it still keeps it.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// So long without a word, and the request is lost.
const SILENCE: Duration = Duration::from_secs(12);
/// The first wait before looking for a consumer again, which doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

type Bound = jetstream::consumer::Consumer<Config>;

/// Why pulling ended.
enum Over {
    Stopping,
    Lost(String),
}

impl Bus {
    /// Hands a consumer's commands to `handler`, at most `slots` at once and never two of one
    /// subject, until shutdown. Then it takes on nothing new, waits for what is under way, and
    /// gives back what is still there at the cut-off.
    ///
    /// It waits, unready, until the consumer answers. Whatever goes wrong with it, it tries again.
    pub async fn run<H, F>(&self, consumer: &Consumer, slots: usize, handler: H)
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let part = self
            .handles
            .readiness
            .part(format!("consumer {}", consumer.name));
        let mut worker = Worker {
            dispatcher: Arc::new(Dispatcher::new(self.handles.clone())),
            handler: Arc::new(handler),
            slots: Arc::new(Semaphore::new(slots.max(1))),
            tasks: JoinSet::new(),
            progress: Duration::ZERO,
        };
        let mut wait = FIRST_WAIT;
        while !self.handles.shutdown.is_stopping() {
            let begun = Instant::now();
            let found: Result<Bound, _> = self
                .context
                .get_consumer_from_stream(&consumer.name, COMMANDS.name)
                .await;
            let over = match found {
                Ok(bound) => {
                    info!(consumer = consumer.name, "Pulling messages");
                    part.set(true);
                    worker.progress = bound.cached_info().config.ack_wait / 3;
                    self.pull(&bound, &mut worker).await
                }
                Err(error) => Over::Lost(chain(&error)),
            };
            let Over::Lost(why) = over else { break };
            part.set(false);
            self.handles.metrics.rebinds.inc();
            warn!(consumer = consumer.name, why, "Failed to reach consumer");
            wait = if begun.elapsed() > SILENCE {
                FIRST_WAIT
            } else {
                (wait * 2).min(LONGEST_WAIT)
            };
            if !pause(&self.handles, sleep(wait)).await {
                break;
            }
        }
        while worker.tasks.join_next().await.is_some() {}
    }

    async fn pull<H, F>(&self, bound: &Bound, worker: &mut Worker<H>) -> Over
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let inbox = Subject::from(self.client().new_inbox());
        let mut messages = match self.client().subscribe(inbox.clone()).await {
            Ok(messages) => messages,
            Err(error) => return Over::Lost(chain(&error)),
        };

        let over = self.receive(bound, &inbox, &mut messages, worker).await;
        // What has arrived and was not taken on goes back. What arrives now comes again after the
        // consumer's ack wait.
        answer(messages.unsubscribe().await);
        while let Some(message) = messages.next().await {
            if delivered(&message) {
                answer(self.message(message).ack_with(AckKind::Nak(None)).await);
            }
        }

        over
    }

    /// Asks for as many messages as there are free slots, and for more once all have come.
    /// async-nats' own iterators do not fit: one prefetches, the other stops at the first
    /// heartbeat.
    async fn receive<H, F>(
        &self,
        bound: &Bound,
        inbox: &Subject,
        messages: &mut Subscriber,
        worker: &mut Worker<H>,
    ) -> Over
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut connected = self.connected.clone();
        connected.mark_unchanged();
        let mut asked = 0;
        let mut silent = Instant::now() + SILENCE;
        loop {
            if asked == 0 {
                tokio::select! {
                    biased;
                    () = self.handles.shutdown.stopping() => return Over::Stopping,
                    free = worker.free_slots() => asked = free,
                }
                let config = BatchConfig {
                    batch: asked,
                    expires: Some(EXPIRES),
                    idle_heartbeat: HEARTBEAT,
                    ..Default::default()
                };

                if let Err(error) = bound.request_batch(config, inbox.clone()).await {
                    return Over::Lost(chain(&error));
                }

                silent = Instant::now() + SILENCE;
            }

            let message = tokio::select! {
                biased;
                () = self.handles.shutdown.stopping() => return Over::Stopping,
                // NATS forgot the request.
                _ = connected.changed() => return Over::Lost("the connection is new".into()),
                message = messages.next() => message,
                () = sleep_until(silent) => return Over::Lost("NATS is silent".into()),
            };

            let Some(message) = message else {
                return Over::Lost("the subscription ended".into());
            };

            silent = Instant::now() + SILENCE;
            match message.status {
                None | Some(StatusCode::OK) => {
                    asked = asked.saturating_sub(1);
                    worker.dispatch(self.message(message)).await;
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => asked = 0,
                Some(status) => {
                    return Over::Lost(format!(
                        "{status} {}",
                        message.description.unwrap_or_default()
                    ));
                }
            }
        }
    }

    fn message(&self, message: Message) -> jetstream::Message {
        jetstream::Message {
            message,
            context: self.context.clone(),
        }
    }
}

fn delivered(message: &Message) -> bool {
    matches!(message.status, None | Some(StatusCode::OK))
}

/// What runs handlers.
struct Worker<H> {
    dispatcher: Arc<Dispatcher>,
    handler: Arc<H>,
    slots: Arc<Semaphore>,
    tasks: JoinSet<()>,
    /// Between a handler's signs of life.
    progress: Duration,
}

impl<H, F> Worker<H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    /// How many slots are free, once there is one.
    async fn free_slots(&self) -> usize {
        drop(self.slots.acquire().await);
        self.slots.available_permits().max(1)
    }

    /// Starts on a message, or lets it wait for its forerunner.
    async fn dispatch(&mut self, message: jetstream::Message) {
        while self.tasks.try_join_next().is_some() {}
        let subject = message.subject.to_string();
        let (first, replaced) = self.dispatcher.singleflight.begin(&subject, message);
        if let Some(replaced) = replaced {
            answer(replaced.ack().await);
        }

        let Some(first) = first else { return };
        // Without a slot it answers an older request, which was given up.
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.dispatcher.singleflight.next(&subject);
            answer(first.ack_with(AckKind::Nak(None)).await);
            return;
        };

        let (dispatcher, handler, progress) = (
            Arc::clone(&self.dispatcher),
            Arc::clone(&self.handler),
            self.progress,
        );

        self.tasks.spawn(async move {
            dispatcher.work(first, progress, &*handler).await;
            drop(slot);
        });
    }
}
