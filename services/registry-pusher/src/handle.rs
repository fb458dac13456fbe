//! The verb `push`: a Build's staged image to each of its registries.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use reqwest::Url;
use sequencer_api::Build;
use sequencer_api::login::Login;
use sequencer_api::repository::Repository;
use sequencer_api::status::build::PublishSection;
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::{Holder, Terms, Verdict, judge, renewed};
use sequencer_runtime::cluster::secret::Secrets;
use sequencer_runtime::cluster::{RecordError, StatusPatch, current};
use sequencer_runtime::outside::Outside;
use sequencer_runtime::retry::{Failing, Waits};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::args::Args;
use crate::copy::{Image, Target};
use crate::credentials::{self, Versions};
use crate::error::{Error, Fault, StartError};
use crate::plan::{Job, Step, Work, plan};
use crate::record::{Tried, broken, claimed, ended, uid};
use crate::registry::{self, Registry};

/// The section that is ours.
const SECTION: &str = "publish";

/// The service.
pub struct Service {
    client: Client,
    secrets: Secrets,
    outside: Outside,
    http: reqwest::Client,
    staging_http: reqwest::Client,
    staging_url: Url,
    staging_login: Option<Login>,
    me: Holder,
    terms: Terms,
    waits: Waits,
    poison: Duration,
    layers: usize,
    push_timeout: Duration,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Service {
    /// The service with these settings.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(client: Client, args: &Args) -> Result<Self, StartError> {
        let outside = Outside::new(&args.outside)?;
        let staging_login = args.staging_login.as_deref().map(credentials::from_file);
        Ok(Self {
            secrets: Secrets::new(client.clone()),
            client,
            http: registry::client(&outside)?,
            staging_http: registry::staging_client(&outside)?,
            outside,
            staging_url: args.staging_url.clone(),
            staging_login: staging_login.transpose()?,
            me: Holder::new(&args.shared),
            terms: Terms::from(&args.shared.periods),
            waits: Waits::from(&args.shared.periods),
            poison: args.shared.periods.poison_retry,
            layers: args.layers,
            push_timeout: args.push_timeout,
        })
    }

    /// Handles a command.
    pub async fn handle(&self, delivery: Delivery) -> Outcome {
        let Delivery { command, wake, again } = delivery;
        if command.verb() != Verb::Push {
            return Outcome::Stale;
        }
        let api: Api<Build> = Api::namespaced(self.client.clone(), &wake.namespace);
        let build = match current(&api, &wake.name, &wake.uid).await {
            Ok(Some(build)) => build,
            Ok(None) => return Outcome::Gone,
            Err(error) => {
                warn!(%error, "the Build cannot be read");
                return Outcome::NotRecorded;
            }
        };
        let work = match plan(&build, &wake.why, Timestamp::now()) {
            Step::Stale => return Outcome::Stale,
            Step::Done => return Outcome::Done,
            Step::Look(versions, work) => {
                if !credentials::changed(&self.secrets, &wake.namespace, &versions).await {
                    return Outcome::Done;
                }
                work
            }
            Step::Push(work) => work,
        };
        Box::pin(self.push(&api, &build, &work, again)).await
    }

    /// Publishes and records. To publish twice at once does no harm, so what is over before a claim would be renewed is not
    /// claimed; but who takes up what another began may die of it as well, and is counted from the start.
    async fn push(&self, api: &Api<Build>, build: &Build, work: &Work, again: bool) -> Outcome {
        let before = build.status.as_ref().map(|status| status.publish.clone()).unwrap_or_default();
        let claim = match judge(before.section.claim.as_ref(), &self.me, self.terms, Timestamp::now()) {
            Verdict::Take(claim) => claim,
            Verdict::Elsewhere(_) => return Outcome::ClaimedElsewhere,
            Verdict::Poison => {
                let section = broken(
                    before,
                    failing(&Error::Poison(self.poison), Versions::new()),
                    &self.waits,
                    uid(build),
                    Timestamp::now(),
                );
                return self.record(api, build, section).await;
            }
        };
        let counted = again || before.section.claim.is_some();
        let mut section = claimed(build, claim);
        if counted {
            match self.write(api, build, &section).await {
                Ok(rev) => section.section.rev = rev,
                Err(error) => return lost(&error),
            }
        }
        let mut publishing = pin!(self.publish(build, work));
        let tried = loop {
            tokio::select! {
                tried = &mut publishing => break tried,
                () = sleep(self.terms.renew) => {}
            }
            let claim = renewed(section.section.claim.as_ref(), &self.me, self.terms, Timestamp::now());
            section.section.claim = claim;
            match self.write(api, build, &section).await {
                Ok(rev) => section.section.rev = rev,
                Err(RecordError::Cluster(error)) => warn!(%error, "the claim could not be renewed"),
                Err(error) => return lost(&error),
            }
        };
        let section = ended(build, section, &work.digest, &tried, &self.waits, Timestamp::now());
        self.record(api, build, section).await
    }

    /// Writes the section over the one that it was made from, and returns its revision.
    async fn write(&self, api: &Api<Build>, build: &Build, section: &PublishSection) -> Result<i64, RecordError> {
        let uid = build.metadata.uid.as_deref().unwrap_or_default();
        let patch = StatusPatch::new(uid).section(SECTION, section.section.rev, section)?;
        patch.apply(api, &build.name_any()).await.map(|_| section.section.rev + 1)
    }

    async fn record(&self, api: &Api<Build>, build: &Build, section: PublishSection) -> Outcome {
        match self.write(api, build, &section).await {
            Ok(_) => Outcome::Recorded,
            Err(error) => lost(&error),
        }
    }

    /// Publishes to all registries that are left, at once: none waits for another, and none fails another.
    async fn publish(&self, build: &Build, work: &Work) -> Vec<Tried> {
        let staged = async {
            let login = self.staging_login.clone();
            let staging = Registry::trusted(&self.staging_http, &self.staging_url, &work.staging, login);
            let staging = staging.map_err(Error::Staging)?;
            let image = Image::read(&staging, &work.digest).await?;
            Ok((Arc::new(staging), Arc::new(image)))
        };
        let staged: Result<_, Error> = staged.await;
        let staged = staged.map_err(|error| failing(&error, Versions::new()));
        join_all(work.jobs.iter().map(async |job| {
            let done = match &staged {
                Ok((staging, image)) => self.publish_to(build, job, staging, image).await,
                Err(failing) => Err(failing.clone()),
            };
            let url = job.registry.url.clone();
            match &done {
                Ok(bytes) => info!(registry = url, bytes, "published"),
                Err(failing) => warn!(registry = url, code = %failing.code, error = failing.message, "not published"),
            }
            Tried { url, done: done.map(|bytes| (bytes, job.tags.clone())) }
        }))
        .await
    }

    async fn publish_to(
        &self,
        build: &Build,
        job: &Job,
        staging: &Arc<Registry>,
        image: &Arc<Image>,
    ) -> Result<u64, Failing> {
        let mut versions = Versions::new();
        let done = async {
            job.supported()?;
            let repository: Repository = job.registry.url.parse()?;
            let namespace = build.namespace().unwrap_or_default();
            let given = job.registry.credentials.as_ref();
            let login = credentials::login(&self.secrets, &namespace, &repository, given, &mut versions).await?;
            let fault = |fault| Error::Registry { host: repository.host().into(), fault };
            let registry = Registry::outside(&self.http, &self.outside, &repository, login).map_err(fault)?;
            let (host, tags) = (repository.host().to_owned(), job.tags.clone());
            let target = Target { host, registry: Arc::new(registry), tags, layers: self.layers };
            let done = timeout(self.push_timeout, target.publish(staging, image)).await;
            done.unwrap_or_else(|_elapsed| Err(fault(Fault::Silent)))
        };
        let done: Result<u64, Error> = done.await;
        done.map_err(|error| failing(&error, versions))
    }
}

/// A failure as its section tells it.
fn failing(error: &Error, secrets: Versions) -> Failing {
    let secrets = if error.may_be_a_secrets() { secrets } else { Versions::new() };
    Failing { code: error.code(), message: error.words(), retry: error.retry(), secrets }
}

/// The section could not be written.
fn lost(error: &RecordError) -> Outcome {
    match error {
        // Somebody else has it, and what was done is theirs to record.
        RecordError::Conflict => Outcome::ClaimedElsewhere,
        RecordError::Gone => Outcome::Gone,
        RecordError::Invalid(_) | RecordError::Json(_) => {
            error!(%error, "the status is refused");
            Outcome::NotRecorded
        }
        _ => {
            warn!(%error, "the status could not be written");
            Outcome::NotRecorded
        }
    }
}
