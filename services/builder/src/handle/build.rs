//! The verb `build`: the image of a Build, in the staging registry.

mod prepare;
mod record;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use sequencer_api::Build;
use sequencer_api::names::h10;
use sequencer_api::status::State;
use sequencer_api::status::build::ImageSection;
use sequencer_proto::topics::BuildLog;
use sequencer_proto::v1::Line;
use sequencer_runtime::args::duration;
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::error::chain;
use sequencer_runtime::section::{End, Finality, Handler, Stop, Target, Work};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use self::prepare::Prepared;
use super::Service;
use crate::buildkit::{Built, Failure, Job, Report, shown};
use crate::credentials::Reader;
use crate::error::Error;
use crate::plan;
use crate::staging::Staged;

/// How long the last lines of a log may take to leave.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Between two looks at another Build of the same key.
const WAIT: Duration = Duration::from_secs(1);

/// Builds with a builder's git and BuildKit.
pub(super) struct Builder<'a> {
    pub(super) service: &'a Service,
    pub(super) log: BuildLog,
}

/// A Build on its way to an image.
struct Task<'a> {
    build: &'a Build,
    namespace: &'a str,
    reader: Reader,
    deadline: Instant,
    begun: Timestamp,
}

/// Why there is no image.
enum Broken {
    /// The build failed: its status says why.
    Failed(Error),
    Stopped(Stop),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl Handler for Builder<'_> {
    type Section = ImageSection;

    async fn handle(&self, work: &mut Work<ImageSection>) -> Result<End, Stop> {
        let (build, namespace) = (work.object(), work.namespace().to_owned());
        let runtime = &build.spec.runtime;
        if !build.is_wanted() || !self.service.serves(&namespace, &runtime.pool) {
            return Ok(End::Nothing(Outcome::Stale));
        }

        work.claimable()?;
        if !work.is_due(Finality::Final, false).await {
            return Ok(End::Nothing(Outcome::Done));
        }

        let longest = self.service.max_timeout;
        let timeout = duration(&runtime.timeout).unwrap_or(longest).min(longest);
        let task = Task {
            build: &build,
            namespace: &namespace,
            reader: Reader::new(work.client().clone(), &namespace, work.secrets()),
            deadline: Instant::now() + timeout,
            begun: Timestamp::now(),
        };

        let target = work.target().clone();
        let made = tokio::select! {
            made = self.make(work, &task) => made,
            outcome = self.unwanted(&target) => return Err(Stop::Ended(outcome)),
        };

        made.map_err(|broken| match broken {
            Broken::Stopped(stop) => stop,
            Broken::Failed(error) => Stop::Failed(self.failed(work, &build, error)),
        })
    }
}

impl Builder<'_> {
    /// Takes the image that is there, waits for the one that is built, or builds.
    async fn make(&self, work: &mut Work<ImageSection>, task: &Task<'_>) -> Result<End, Broken> {
        let staging = &self.service.staging;
        let no_cache = task.build.spec.runtime.no_cache;
        let (step, news) = watch::channel(None);
        step.send_replace(Some("fetching the source".to_owned()));
        let prepared = timeout_at(task.deadline, self.prepare(task));
        let prepared = work
            .guard_and_tell(prepared, news, tell)
            .await?
            .map_err(|_elapsed| task.late())??;

        loop {
            if !no_cache
                && let Some(staged) = staging
                    .find(task.namespace, &prepared.key)
                    .await
                    .map_err(Error::from)?
            {
                return Ok(self.reuse(work, task, &prepared, staged).await?);
            }

            // Whoever claimed first builds. Two may have claimed before either was seen: so the
            // others are looked at again under the claim.
            if no_cache || !is_ahead(work, &prepared.key, None).await? {
                self.begin(work, task, &prepared);
                work.claim(State::InProgress).await?;

                if no_cache || !is_ahead(work, &prepared.key, Some(task.begun)).await? {
                    return self.run(work, task, &prepared).await;
                }

                work.section.started_at = None;
                work.release().await.map_err(Stop::from)?;
            }

            if Instant::now() >= task.deadline {
                return Err(task.late().into());
            }

            sleep(WAIT).await;
        }
    }

    /// Builds under a claim.
    async fn run(
        &self,
        work: &mut Work<ImageSection>,
        task: &Task<'_>,
        prepared: &Prepared,
    ) -> Result<End, Broken> {
        info!(key = prepared.key, "Building image");
        let (step, news) = watch::channel(None);
        let built = self.built(task, prepared, step);
        let (built, staged) = work
            .guard_and_tell(Box::pin(timeout_at(task.deadline, built)), news, tell)
            .await?
            .map_err(|_elapsed| task.late())??;

        info!(
            key = prepared.key,
            digest = built.digest,
            cached = built.cached,
            steps = built.steps,
            "Built image"
        );
        self.completed(work, task, prepared, staged);
        work.section.cached_steps = Some(format!("{}/{}", built.cached, built.steps));
        Ok(End::Reached(State::Completed))
    }

    /// Checks the source out, builds it, and finds the image in the staging registry.
    async fn built(
        &self,
        task: &Task<'_>,
        prepared: &Prepared,
        step: watch::Sender<Option<String>>,
    ) -> Result<(Built, Staged), Error> {
        let service = self.service;
        let (log, lines) = mpsc::unbounded_channel();
        step.send_replace(Some("checking out the source".to_owned()));
        let checkout = prepared
            .source
            .checkout(&service.git, &service.work, task.namespace)
            .await?;

        let leased = self.leased(
            task.namespace,
            &prepared.job,
            &checkout.context,
            Report { log, step },
        );
        let (built, ()) = tokio::join!(leased, self.lines(lines));
        let built = built?;

        let staged = service
            .staging
            .find(task.namespace, &prepared.key)
            .await?
            .filter(|staged| staged.digest == built.digest)
            .ok_or(Error::Digest)?;
        Ok((built, staged))
    }

    /// Builds while BuildKit is leased to this namespace.
    async fn leased(
        &self,
        namespace: &str,
        job: &Job,
        context: &Path,
        report: Report,
    ) -> Result<Built, Failure> {
        let buildkit = &self.service.buildkit;
        let Some(supervisor) = &self.service.supervisor else {
            return buildkit.build(job, context, report).await;
        };

        let mut lease = supervisor.lease(&h10(&[namespace])).await?;
        let built = tokio::select! {
            biased;
            built = buildkit.build(job, context, report) => built,
            () = lease.lost() => return Err(Failure::lost("it ended")),
        };

        // Where this is not reached, because nobody wants the build any more, the lease ends
        // without a word.
        lease.end(built.is_ok()).await;
        built
    }

    /// Sends lines to whoever follows the log. Nothing depends on them.
    async fn lines(&self, mut lines: mpsc::UnboundedReceiver<Vec<Line>>) {
        let mut last = None;
        while let Some(mut batch) = lines.recv().await {
            while let Ok(more) = lines.try_recv() {
                batch.extend(more);
            }

            let give_up = *last.get_or_insert_with(|| Instant::now() + LAST_LINES);
            let stored = timeout_at(give_up, self.service.bus.log(&self.log, batch)).await;
            let why = match stored {
                Ok(Ok(())) => {
                    last = None;
                    continue;
                }
                Ok(Err(error)) => chain(&error),
                Err(elapsed) => chain(&elapsed),
            };

            warn!(error = why, "Failed to store the log of a build");
            return;
        }
    }

    /// Takes the image that is there.
    async fn reuse(
        &self,
        work: &mut Work<ImageSection>,
        task: &Task<'_>,
        prepared: &Prepared,
        staged: Staged,
    ) -> Result<End, Error> {
        let all = of_key(work, &prepared.key).await?;
        let from = plan::origin(&all, &work.uid().to_string(), &staged.digest).map(Into::into);

        info!(key = prepared.key, digest = staged.digest, "Reused image");
        self.begin(work, task, prepared);
        self.completed(work, task, prepared, staged);
        work.section.reused_from = from;
        Ok(End::Reached(State::Completed))
    }

    /// Returns once nobody wants the Build.
    async fn unwanted(&self, target: &Target<Build>) -> Outcome {
        loop {
            sleep(self.service.check_wanted).await;
            match target.read().await {
                Ok(None) => return given_up("gone", Outcome::Gone),
                Ok(Some(build)) if !build.is_wanted() => {
                    return given_up("deleted or superseded", Outcome::Stale);
                }
                Ok(Some(_)) => {}
                Err(error) => warn!(
                    error = chain(&error),
                    "Failed to read whether a Build is still wanted"
                ),
            }
        }
    }
}

/// Says what is under way, which goes on for some time.
fn tell(section: &mut ImageSection, step: Option<String>) {
    section.step = step.map(|step| shown(&step));
}

fn given_up(why: &'static str, outcome: Outcome) -> Outcome {
    info!(why, "Gave a build up");
    outcome
}

/// The Builds of this namespace that have this content key.
async fn of_key(work: &Work<ImageSection>, key: &str) -> Result<Vec<Build>, Error> {
    let list = ListParams::default().fields(&format!("status.image.key={key}"));
    Ok(work.target().api().list(&list).await?.items)
}

/// Whether another Build of this key is built that was begun before this one, or at all if this
/// one has not begun.
async fn is_ahead(
    work: &Work<ImageSection>,
    key: &str,
    begun: Option<Timestamp>,
) -> Result<bool, Error> {
    let all = of_key(work, key).await?;
    Ok(plan::ahead(&all, &work.uid().to_string(), begun, Timestamp::now()).is_some())
}

impl Task<'_> {
    fn late(&self) -> Error {
        Error::Timeout(self.build.spec.runtime.timeout.clone())
    }
}
