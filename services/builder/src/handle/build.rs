//! `build`: the image of a Build, in the staging registry.

mod prepare;
mod section;

use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use sequencer_api::Build;
use sequencer_api::status::Claim;
use sequencer_api::status::build::ImageSection;
use sequencer_proto::topics::BuildLog;
use sequencer_proto::v1::Line;
use sequencer_runtime::args::duration;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::{Verdict, judge};
use sequencer_runtime::cluster;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use self::prepare::Prepared;
use super::guard::{Target, is_unwanted};
use super::{Service, record, wanted};
use crate::credentials::Reader;
use crate::error::Error;
use crate::plan::{self, Look};
use crate::staging::Staged;

/// How long the last lines of a log may take to leave.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Between looks at another Build of the same key.
const WAIT: Duration = Duration::from_secs(1);

/// A Build that is worked at.
struct Work<'a> {
    target: Target<'a>,
    delivery: &'a Delivery,
    namespace: &'a str,
    build: Build,
    generation: i64,
    reader: Reader<'a>,
    deadline: Instant,
    begun: Timestamp,
}

/// How a build ended: recorded as a result, or given up.
enum Ended {
    Failed(Error),
    Outcome(Outcome),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<kube::Error> for Ended {
    fn from(error: kube::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Service {
    pub(super) async fn build(&self, delivery: &Delivery) -> kube::Result<Outcome> {
        let (namespace, name) = (delivery.wake.namespace.as_str(), delivery.wake.name.as_str());
        let (api, uid) = (self.api::<Build>(namespace), delivery.command.uid().to_string());
        let build = match wanted(&api, delivery).await? {
            Ok(build) => build,
            Err(outcome) => return Ok(outcome),
        };
        if build.spec.runtime.pool != self.pool.as_str() || is_unwanted(&build) {
            return Ok(Outcome::Stale);
        }
        let section = build.status.clone().unwrap_or_default().image.section;
        let generation = build.metadata.generation.unwrap_or_default();
        let reader = Reader::new(&self.client, namespace);
        let begun = Timestamp::now();
        match plan::look(&section, true, generation, &delivery.wake.why, begun) {
            Look::Work => {}
            Look::Leave => return Ok(Outcome::Done),
            Look::IfChanged(versions) if reader.changed(&versions).await => {}
            Look::IfChanged(_) => return Ok(Outcome::Done),
        }
        let asked = duration(&build.spec.runtime.timeout).unwrap_or(self.max_timeout);
        let deadline = Instant::now() + asked.min(self.max_timeout);
        let target = Target { api: &api, name, uid: &uid };
        let work = Work { target, delivery, namespace, build, generation, reader, deadline, begun };
        match judge(section.claim.as_ref(), &self.holder, self.terms, begun) {
            Verdict::Elsewhere(_) => return Ok(Outcome::ClaimedElsewhere),
            Verdict::Poison => return Ok(self.poisoned(&work, &section).await),
            Verdict::Take(_) => {}
        }
        let ended = tokio::select! {
            ended = self.make(&work) => ended,
            outcome = self.unwanted(target) => Err(Ended::Outcome(outcome)),
        };
        Ok(match ended {
            Ok(outcome) | Err(Ended::Outcome(outcome)) => outcome,
            Err(Ended::Failed(error)) => self.record_failure(&work, &error).await,
        })
    }

    /// Fetches, and then takes the image that is there, waits for the one that is built, or builds.
    async fn make(&self, work: &Work<'_>) -> Result<Outcome, Ended> {
        let prepared = timeout_at(work.deadline, self.prepare(work)).await.map_err(|_elapsed| work.late())??;
        let no_cache = work.build.spec.runtime.no_cache;
        loop {
            if !no_cache
                && let Some(staged) = self.staging.find(work.namespace, &prepared.key).await.map_err(Error::from)?
            {
                return Ok(self.reuse(work, &prepared, staged).await?);
            }
            let all = self.of_key(work, &prepared.key).await?;
            if no_cache || plan::ahead(&all, work.target.uid, None, Timestamp::now()).is_none() {
                let claim = self.claim(work, &prepared).await.map_err(Ended::Outcome)?;
                let all = self.of_key(work, &prepared.key).await?;
                if no_cache || plan::ahead(&all, work.target.uid, Some(work.begun), Timestamp::now()).is_none() {
                    return self.run(work, &prepared, &claim).await;
                }
                self.release(work).await.map_err(Ended::Outcome)?;
            }
            if Instant::now() >= work.deadline {
                return Err(work.late().into());
            }
            sleep(WAIT).await;
        }
    }

    async fn of_key(&self, work: &Work<'_>, key: &str) -> kube::Result<Vec<Build>> {
        let list = ListParams::default().fields(&format!("status.image.key={key}"));
        Ok(work.target.api.list(&list).await?.items)
    }

    /// Builds under a claim.
    async fn run(&self, work: &Work<'_>, prepared: &Prepared, claim: &Claim) -> Result<Outcome, Ended> {
        info!(key = prepared.key, "builds");
        let (log, lines) = mpsc::unbounded_channel();
        let built = async {
            let built = tokio::join!(self.buildkit.build(&prepared.job, log), self.lines(work, lines)).0?;
            let staged =
                self.staging.find(work.namespace, &prepared.key).await?.filter(|staged| staged.digest == built.digest);
            Ok::<_, Error>((built, staged.ok_or(Error::Digest)?))
        };
        let (built, staged) = tokio::select! {
            built = timeout_at(work.deadline, built) => built.map_err(|_elapsed| work.late())??,
            outcome = self.guard(work.target, claim) => return Err(Ended::Outcome(outcome)),
        };
        let before = self.mine(work).await.map_err(Ended::Outcome)?;
        let next = self.completed(work, prepared, before.section.rev, staged, Some(&built), None);
        let next = ImageSection { started_at: before.started_at, ..next };
        record(work.target.api, work.target.name, work.target.uid, "image", before.section.rev, &next)
            .await
            .map_err(Ended::Outcome)?;
        info!(key = prepared.key, digest = built.digest, cached = built.cached, steps = built.steps, "built");
        Ok(Outcome::Done)
    }

    /// Sends lines to whoever follows the log. Nothing depends on them.
    async fn lines(&self, work: &Work<'_>, mut lines: mpsc::UnboundedReceiver<Vec<Line>>) {
        let log = work.log();
        let mut last = None;
        while let Some(mut batch) = lines.recv().await {
            while let Ok(more) = lines.try_recv() {
                batch.extend(more);
            }
            let give_up = *last.get_or_insert_with(|| Instant::now() + LAST_LINES);
            match timeout_at(give_up, self.bus.log(&log, batch)).await {
                Ok(Ok(())) => last = None,
                Ok(Err(_)) | Err(_) => {
                    warn!("the log of a build is not stored");
                    return;
                }
            }
        }
    }

    /// Takes the image that is there.
    async fn reuse(&self, work: &Work<'_>, prepared: &Prepared, staged: Staged) -> Result<Outcome, Error> {
        let all = self.of_key(work, &prepared.key).await?;
        let from = plan::origin(&all, work.target.uid, &staged.digest).map(Into::into);
        let found = cluster::current(work.target.api, work.target.name, work.target.uid).await?;
        let Some(found) = found else { return Ok(Outcome::Gone) };
        let rev = found.status.unwrap_or_default().image.section.rev;
        info!(key = prepared.key, digest = staged.digest, "is built already");
        let next = self.completed(work, prepared, rev, staged, None, from);
        let written = record(work.target.api, work.target.name, work.target.uid, "image", rev, &next).await;
        Ok(written.map_or_else(|outcome| outcome, |_| Outcome::Done))
    }
}

impl Work<'_> {
    fn late(&self) -> Error {
        Error::Timeout(self.build.spec.runtime.timeout.clone())
    }

    /// Where its log is.
    fn log(&self) -> BuildLog {
        BuildLog { workspace: self.delivery.command.workspace(), build: self.delivery.command.uid() }
    }
}
