//! The life of a process: start, supervised tasks, shutdown.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use sequencer_proto::topics::Consumer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::admin;
use crate::args::Args;
use crate::bus::{Bus, Delivery, Outcome};
use crate::error::chain;
use crate::handles::Handles;
use crate::telemetry::{Telemetry, TelemetryError};

/// After the cut-off, this long is left to give messages back.
const GIVE_BACK: Duration = Duration::from_secs(3);

/// The process cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Logs or traces cannot be set up.
    #[error("cannot set up telemetry")]
    Telemetry(#[from] TelemetryError),
    /// Another process has the port, or the address is not ours.
    #[error("cannot listen on the admin address")]
    Admin(#[source] std::io::Error),
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] std::io::Error),
}

/// A task ended although nobody asked the process to.
#[derive(Debug, Error)]
#[error("the task {task} ended early")]
pub struct Ended {
    /// Its name.
    pub task: &'static str,
    source: Option<Failure>,
}

/// Whatever a task fails with.
type Failure = Box<dyn Error + Send + Sync>;

/// A task's name, and how it ended.
type Task = (&'static str, Result<(), Failure>);

/// A running process. Its tasks live and die together.
#[derive(Debug)]
pub struct Runtime {
    handles: Handles,
    telemetry: Telemetry,
    drain: Duration,
    signals: [Signal; 2],
    admin: JoinSet<std::io::Result<()>>,
    tasks: JoinSet<Task>,
}

impl Runtime {
    /// Sets up TLS, logs, traces and signals, and serves the admin port.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(name: &'static str, args: &Args) -> Result<Self, StartError> {
        Self::start_with(name, args, Router::new()).await
    }

    /// As [`Runtime::start`], with more pages on the admin port.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with(
        name: &'static str,
        args: &Args,
        pages: Router,
    ) -> Result<Self, StartError> {
        crate::telemetry::tls();
        let telemetry =
            Telemetry::start(name, args.log_level.clone(), args.otlp_endpoint.as_deref())?;
        let handles = Handles::default();
        let listener = TcpListener::bind(args.admin)
            .await
            .map_err(StartError::Admin)?;
        let mut admin = JoinSet::new();
        admin.spawn(admin::serve(
            listener,
            handles.readiness.clone(),
            handles.metrics.clone(),
            pages,
        ));

        let catch = |kind| signal(kind).map_err(StartError::Signals);
        let signals = [
            catch(SignalKind::terminate())?,
            catch(SignalKind::interrupt())?,
        ];

        info!(service = name, "Started");
        Ok(Self {
            handles,
            telemetry,
            drain: args.periods.drain,
            signals,
            admin,
            tasks: JoinSet::new(),
        })
    }

    /// What parts of the process share.
    #[must_use]
    pub fn handles(&self) -> Handles {
        self.handles.clone()
    }

    /// Starts a task that runs as long as the process: it returns only once
    /// [`crate::shutdown::Shutdown::stopping`] does. If it returns earlier, fails or panics, the process
    /// ends.
    pub fn spawn<F, T>(&mut self, task: &'static str, future: F)
    where
        F: Future<Output = T> + Send + 'static,
        T: TaskResult,
    {
        let named = AssertUnwindSafe(future).catch_unwind();
        self.tasks.spawn(async move {
            (
                task,
                named
                    .await
                    .map_or_else(|_panic| Err("it panicked".into()), T::into_result),
            )
        });
    }

    /// Handles the commands of a consumer, at most `slots` at once, as long as the process lives.
    pub fn handle<H, F>(&mut self, bus: &Bus, consumer: Consumer, slots: usize, handler: H)
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let bus = bus.clone();
        self.spawn("handle", async move {
            bus.run(&consumer, slots, handler).await;
        });
    }

    /// Waits for SIGTERM, SIGINT or the end of a task, and then shuts down: unready, nothing new,
    /// `drain` for what is under way, the rest given back, bus and traces flushed.
    ///
    /// # Errors
    /// A task ended early.
    pub async fn run(mut self, bus: &Bus) -> Result<(), Ended> {
        let [terminate, interrupt] = &mut self.signals;
        let early = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            Some(ended) = self.tasks.join_next() => Some(ended_early(ended)),
            Some(ended) = self.admin.join_next() => Some(ended_early(ended.map(|result| ("admin", result.map_err(Into::into))))),
        };

        info!("Shutting down");
        self.handles.readiness.part("shutting down").set(false);
        self.handles.shutdown.stop();
        if tokio::time::timeout(self.drain, self.finish())
            .await
            .is_err()
        {
            warn!("Gave back what is still under way");
            self.handles.shutdown.cut_off();
            if tokio::time::timeout(GIVE_BACK, self.finish())
                .await
                .is_err()
            {
                warn!("Aborted tasks");
            }
        }

        bus.close().await;
        self.telemetry.flush().await;
        early.map_or(Ok(()), Err)
    }

    async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if !matches!(ended, Ok((_, Ok(())))) {
                let Ended { task, source } = ended_early(ended);
                error!(
                    task,
                    error = source.map(|error| chain(&*error)),
                    "Task failed while shutting down"
                );
            }
        }
    }
}

/// What a task may return.
pub trait TaskResult: Send + 'static {
    /// As a result.
    ///
    /// # Errors
    /// The task failed.
    fn into_result(self) -> Result<(), Failure>;
}

impl TaskResult for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Into<Failure> + Send + 'static> TaskResult for Result<(), E> {
    fn into_result(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

fn ended_early(ended: Result<Task, JoinError>) -> Ended {
    match ended {
        Ok((task, result)) => Ended {
            task,
            source: result.err(),
        },
        Err(error) => Ended {
            task: "one of the runtime's",
            source: Some(error.into()),
        },
    }
}
