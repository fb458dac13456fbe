//! `build`: the image of a Build, in the staging registry.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ListParams;
use sequencer_api::Build;
use sequencer_api::names::{h6, h10};
use sequencer_api::status::build::ImageSection;
use sequencer_api::status::{Claim, Section, State};
use sequencer_proto::topics::BuildLog;
use sequencer_proto::v1::Line;
use sequencer_runtime::args::duration;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::{Verdict, judge};
use sequencer_runtime::cluster;
use sequencer_runtime::retry::{Failing, failed};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::guard::{Target, is_unwanted};
use super::{Service, record, wanted};
use crate::buildkit::{Built, Job};
use crate::credentials::Reader;
use crate::error::Error;
use crate::key::{Inputs, key};
use crate::plan::{self, Look};
use crate::source::{self, Source};
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

/// All that a build needs.
struct Prepared {
    /// The sources are in its folder as long as it lives.
    source: Source,
    key: String,
    job: Job,
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

    async fn prepare(&self, work: &Work<'_>) -> Result<Prepared, Error> {
        let spec = &work.build.spec;
        let args = work.reader.args(spec.args.as_ref()).await?;
        let secrets = work.reader.secrets(spec.secrets.as_ref()).await?;
        let source = source::fetch(&self.git, &self.work, work.namespace, spec, &work.reader).await?;
        let history =
            spec.import_content.iter().any(|import| import.content_from.git.as_ref().is_some_and(|git| git.depth > 1));
        let attestations = spec.attestations.clone().unwrap_or_default();
        let form =
            [format!("{:?}", spec.compression), attestations.sbom.to_string(), attestations.provenance.to_string()];
        let commits = source.imports.iter().map(|import| import.commit.as_str());
        let inputs = Inputs {
            trees: source.trees.iter().map(|(at, tree)| (at.as_str(), tree.as_str())).collect(),
            history: commits.filter(|_| history).collect(),
            dockerfile: &source.dockerfile,
            content: &source.content,
            target: spec.target.as_deref(),
            args: Some(&args),
            secrets: Some(&secrets),
            platforms: spec.platforms.iter().map(String::as_str).collect(),
            form: form.iter().map(String::as_str).collect(),
        };
        let key = key(&inputs, work.namespace, &self.pepper);
        let (export, imports) = self.caches(work, &source);
        let mut logins = work.reader.logins(spec).await;
        logins.extend(self.staging.login().map(|login| (self.staging.host(), login.clone())));
        let job = Job {
            context: source.context.clone(),
            dockerfile: source.dockerfile.clone(),
            target: spec.target.clone(),
            args,
            secrets,
            hidden: source.hidden.clone(),
            logins,
            platforms: spec.platforms.clone(),
            compression: spec.compression,
            sbom: attestations.sbom,
            provenance: attestations.provenance,
            no_cache: spec.runtime.no_cache,
            image: self.staging.image(work.namespace, &key),
            cache_imports: imports,
            cache_export: Some(export),
            plain_http: self.staging.plain_http(),
            denied: ["b", "cache"].map(|folder| self.staging.repository(folder)).into(),
            shared: h10(&[work.namespace, &spec.name]),
        };
        Ok(Prepared { source, key, job })
    }

    /// Where this build's steps are kept, and where steps of others may be: of this branch, and of the remote's own.
    fn caches(&self, work: &Work<'_>, source: &Source) -> (String, Vec<String>) {
        let spec = &work.build.spec;
        let urls: Vec<_> = source.imports.iter().map(|import| import.url.as_str()).collect();
        let what = h10(&[&urls.concat(), &spec.context, &spec.dockerfile, &spec.platforms.concat()]);
        let repository = self.staging.repository(&format!("cache/{}/{what}", h10(&[work.namespace])));
        let branch = source.imports.iter().find_map(|import| import.reference.as_deref());
        let own = branch.map_or_else(|| "head".into(), |branch| format!("ref-{}", h6(&[branch])));
        let (own, head) = (format!("{repository}:{own}"), format!("{repository}:head"));
        let mut imports = vec![own.clone()];
        imports.extend((own != head).then_some(head));
        (own, imports)
    }

    async fn of_key(&self, work: &Work<'_>, key: &str) -> kube::Result<Vec<Build>> {
        let list = ListParams::default().fields(&format!("status.image.key={key}"));
        Ok(work.target.api.list(&list).await?.items)
    }

    /// Claims the work under its key.
    async fn claim(&self, work: &Work<'_>, prepared: &Prepared) -> Result<Claim, Outcome> {
        let found = match cluster::current(work.target.api, work.target.name, work.target.uid).await {
            Ok(Some(found)) if !is_unwanted(&found) => found,
            Ok(Some(_)) => return Err(Outcome::Stale),
            Ok(None) => return Err(Outcome::Gone),
            Err(_) => return Err(Outcome::NotRecorded),
        };
        let before = found.status.unwrap_or_default().image.section;
        let Verdict::Take(claim) = judge(before.claim.as_ref(), &self.holder, self.terms, Timestamp::now()) else {
            return Err(Outcome::ClaimedElsewhere);
        };
        let section = Section {
            rev: before.rev,
            state: Some(State::InProgress),
            observed_generation: Some(work.generation),
            claim: Some(claim.clone()),
            retry: before.retry,
        };
        let next = self.about(work, prepared, section);
        record(work.target.api, work.target.name, work.target.uid, "image", before.rev, &next).await?;
        Ok(claim)
    }

    /// Takes the claim back: it did not end without a result, it did not begin.
    async fn release(&self, work: &Work<'_>) -> Result<(), Outcome> {
        let mut before = self.mine(work).await?;
        before.section.claim = None;
        before.section.state = Some(State::Waiting);
        before.started_at = None;
        record(work.target.api, work.target.name, work.target.uid, "image", before.section.rev, &before).await.map(drop)
    }

    /// The section, if my claim still stands in it.
    async fn mine(&self, work: &Work<'_>) -> Result<ImageSection, Outcome> {
        let found = cluster::current(work.target.api, work.target.name, work.target.uid).await;
        let found = found.map_err(|_error| Outcome::NotRecorded)?.ok_or(Outcome::Gone)?;
        let section = found.status.unwrap_or_default().image;
        let mine = section.section.claim.as_ref().is_some_and(|claim| claim.holder == self.holder.to_string());
        if mine { Ok(section) } else { Err(Outcome::ClaimedElsewhere) }
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

    fn completed(
        &self,
        work: &Work<'_>,
        prepared: &Prepared,
        rev: i64,
        staged: Staged,
        built: Option<&Built>,
        reused_from: Option<String>,
    ) -> ImageSection {
        let section = Section {
            rev,
            state: Some(State::Completed),
            observed_generation: Some(work.generation),
            claim: None,
            retry: None,
        };
        ImageSection {
            digest: Some(staged.digest),
            media_type: Some(staged.media_type),
            size: Some(staged.size),
            platforms: work.build.spec.platforms.clone(),
            staging: Some(sequencer_api::names::staging(work.namespace, &prepared.key)),
            cached_steps: built.map(|built| format!("{}/{}", built.cached, built.steps)),
            completed_at: Some(Time(Timestamp::now())),
            reused_from,
            ..self.about(work, prepared, section)
        }
    }

    /// What is known of a build before it ends.
    fn about(&self, work: &Work<'_>, prepared: &Prepared, section: Section) -> ImageSection {
        ImageSection {
            section,
            pool: Some(self.pool.to_string()),
            builder: Some(self.pod.clone()),
            sources: prepared.source.imports.clone(),
            key: Some(prepared.key.clone()),
            started_at: Some(Time(work.begun)),
            log: Some(work.log().to_string()),
            ..ImageSection::default()
        }
    }

    /// Records why there is no image, unless somebody else works at it by now.
    async fn record_failure(&self, work: &Work<'_>, error: &Error) -> Outcome {
        let found = match cluster::current(work.target.api, work.target.name, work.target.uid).await {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Gone,
            Err(_) => return Outcome::NotRecorded,
        };
        let before = found.status.unwrap_or_default().image;
        let now = Timestamp::now();
        if let Verdict::Elsewhere(_) = judge(before.section.claim.as_ref(), &self.holder, self.terms, now) {
            return Outcome::ClaimedElsewhere;
        }
        let (message, failure) = work.told(error);
        let uid = work.delivery.command.uid();
        let section = self.failure(&before.section, work.generation, error, message, &work.reader, uid);
        let next = ImageSection { section, completed_at: Some(Time(now)), failure: Some(failure), ..before.clone() };
        match record(work.target.api, work.target.name, work.target.uid, "image", before.section.rev, &next).await {
            Ok(_) => Outcome::Recorded,
            Err(outcome) => outcome,
        }
    }

    /// Records that it is not worked at for a while.
    async fn poisoned(&self, work: &Work<'_>, before: &Section) -> Outcome {
        let error = Error::Poison(sequencer_runtime::claim::POISON);
        let retry = sequencer_runtime::retry::Retry::Wait(self.poison);
        let failing = Failing { code: error.code(), message: error.to_string(), retry, secrets: Default::default() };
        let retry = failed(None, failing, &self.waits, work.delivery.command.uid(), work.begun);
        let (_, failure) = work.told(&error);
        let section = self.failing(before, work.generation, retry);
        let old = work.build.status.clone().unwrap_or_default().image;
        let next = ImageSection { section, failure: Some(failure), ..old };
        match record(work.target.api, work.target.name, work.target.uid, "image", before.rev, &next).await {
            Ok(_) => Outcome::Recorded,
            Err(outcome) => outcome,
        }
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

    /// A failure as people read it.
    fn told(&self, error: &Error) -> (String, sequencer_api::status::Failure) {
        let Error::Build(failure) = error else {
            let message = error.to_string();
            let failure = crate::buildkit::Failure::plain(error.code(), message.clone());
            return (message, failure.status());
        };
        let git = self.build.spec.import_content.first().and_then(|import| import.content_from.git.as_ref());
        let commit = git.and_then(|git| git.commit.as_deref()).map(sequencer_api::labels::commit12);
        let commit = commit.map_or_else(|| self.build.name_any(), Into::into);
        (format!("build of {commit} {}", failure.summary(&self.build.spec.dockerfile)), failure.status())
    }
}
