//! The verb `push`: a Build's staged image to each of its registries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use reqwest::Url;
use sequencer_api::Build;
use sequencer_api::login::Login;
use sequencer_api::repository::Repository;
use sequencer_api::status::State;
use sequencer_api::status::build::PublishSection;
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::cluster::current;
use sequencer_runtime::egress::EgressGuard;
use sequencer_runtime::registry::{self, Fault, Registry};
use sequencer_runtime::section::{
    End, Failing, Finality, Handler, SecretReader, Sections, Stop, Work,
};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::args::Args;
use crate::copy::{self, Copied, Target};
use crate::error::{Error, StartError};
use crate::plan::{Image, Job, Plan, plan};
use crate::record::{Done, Tried, end, note};
use crate::turns::Turns;

pub struct Service {
    client: Client,
    sections: Sections,
    egress: EgressGuard,
    http: reqwest::Client,
    staging_http: reqwest::Client,
    staging_url: Url,
    staging_login: Option<Login>,
    layers: usize,
    push_timeout: Duration,
    turns: Turns,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("sections", &self.sections)
            .finish_non_exhaustive()
    }
}

impl Handler for Service {
    type Section = PublishSection;

    async fn handle(&self, work: &mut Work<PublishSection>) -> Result<End, Stop> {
        let build = work.object();
        let image = match plan(&build) {
            Plan::Nothing => return Ok(End::Nothing(Outcome::Stale)),
            Plan::Published => return Ok(End::Nothing(Outcome::Done)),
            Plan::Superseded => return withdraw(work),
            Plan::Publish(image) => image,
        };

        work.claimable()?;
        if !work.is_due(Finality::Polled, false).await {
            return Ok(End::Nothing(Outcome::Done));
        }

        // To publish twice at once does no harm, so what is over before a claim would be renewed
        // is not claimed. But who takes up what another began may die of it as well, and is
        // counted from the start.
        if work.was_begun_before() {
            work.claim(State::InProgress).await?;
        }

        let secrets = work.secrets();
        let tried = work.guard(self.publish(&build, &image, &secrets)).await?;

        note(
            &mut work.section,
            &build,
            &image.digest,
            &tried,
            Timestamp::now(),
        );
        end(tried)
    }
}

/// What was begun of a Build whose place another took is not tried again. Whoever is at work at it
/// notices by himself.
fn withdraw(work: &Work<PublishSection>) -> Result<End, Stop> {
    work.claimable()?;
    let section = &work.section.section;

    if section.retry.is_some() || section.claim.is_some() {
        Ok(End::Reached(State::Waiting))
    } else {
        Ok(End::Nothing(Outcome::Stale))
    }
}

impl Service {
    /// The service with these settings.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(client: Client, args: &Args) -> Result<Self, StartError> {
        let egress = EgressGuard::new(&args.egress)?;
        let staging_login = args.staging_login.as_deref().map(registry::read_login_file);

        Ok(Self {
            sections: Sections::new(client.clone(), &args.shared),
            client,
            http: registry::client(&egress)?,
            staging_http: registry::trusted_client(&egress)?,
            egress,
            staging_url: args.staging_url.clone(),
            staging_login: staging_login.transpose()?,
            layers: args.layers,
            push_timeout: args.push_timeout,
            turns: Turns::default(),
        })
    }

    pub async fn handle(&self, delivery: Delivery) -> Outcome {
        match delivery.command.verb() {
            Verb::Push => self.sections.handle(self, &delivery).await,
            _ => Outcome::Stale,
        }
    }

    /// Publishes to all registries that are left, at once: none waits for another, and none fails
    /// another.
    async fn publish(&self, build: &Build, image: &Image, secrets: &SecretReader) -> Vec<Tried> {
        let staged = self.staged(image).await.map_err(Failing::from);

        join_all(image.jobs.iter().map(async |job| {
            let copied = match &staged {
                Ok(staged) => self
                    .publish_to(build, job, staged, secrets)
                    .await
                    .map_err(Failing::from),
                Err(failing) => Err(failing.clone()),
            };
            tried(job, copied)
        }))
        .await
    }

    async fn staged(&self, image: &Image) -> Result<Arc<copy::Image>, Error> {
        let login = self.staging_login.clone();
        let staging =
            Registry::trusted(&self.staging_http, &self.staging_url, &image.staging, login)
                .map_err(Error::Staging)?;
        Ok(Arc::new(copy::Image::read(staging, &image.digest).await?))
    }

    async fn publish_to(
        &self,
        build: &Build,
        job: &Job,
        image: &Arc<copy::Image>,
        secrets: &SecretReader,
    ) -> Result<Copied, Error> {
        job.supported()?;
        let repository: Repository = job.registry.url.parse()?;
        let found = match &job.registry.credentials {
            Some(credentials) => {
                Some(registry::read_login(secrets, &repository, credentials).await?)
            }
            None => None,
        };
        let (login, source) = found.map(|found| (found.login, found.source)).unzip();

        let fault = |fault| Error::Registry {
            host: repository.host().into(),
            login: source.clone(),
            fault,
        };

        let registry =
            Registry::guarded(&self.http, &self.egress, &repository, login).map_err(fault)?;
        let target = Target {
            host: repository.host().to_owned(),
            login: source.clone(),
            registry: Arc::new(registry),
            tags: job.tags.clone(),
            layers: self.layers,
        };

        let turn = async || self.turn(build, &repository).await;

        timeout(self.push_timeout, target.publish(image, turn))
            .await
            .unwrap_or_else(|_elapsed| Err(fault(Fault::Silent)))
    }

    /// The right to move the tags of a repository: one Build of a namespace at a time has it, if it
    /// is wanted at that moment. So what an older one does slowly is over when a newer one begins,
    /// and what it would begin later it does not do.
    async fn turn(
        &self,
        build: &Build,
        repository: &Repository,
    ) -> Result<Option<OwnedMutexGuard<()>>, Error> {
        let namespace = build.namespace_str();
        let api: Api<Build> = Api::namespaced(self.client.clone(), namespace);
        let turn = self.turns.take(&format!("{namespace}/{repository}")).await;
        let uid = build.uid_str();
        let now = current(&api, &build.name_any(), uid)
            .await
            .map_err(Error::Cluster)?;
        Ok(now.filter(Build::is_wanted).map(|_now| turn))
    }
}

/// Tells the log what became of a registry.
fn tried(job: &Job, copied: Result<Copied, Failing>) -> Tried {
    let url = job.registry.url.clone();

    match &copied {
        Ok(Copied::Tagged(bytes)) => info!(registry = url, bytes, "Published image"),
        Ok(Copied::Overtaken) => info!(registry = url, "Left tags to a newer Build"),
        Err(failing) => warn!(
            registry = url,
            code = %failing.code,
            error = failing.message,
            "Failed to publish image"
        ),
    }

    let done = copied.map(|copied| match copied {
        Copied::Tagged(bytes) => Done::Published(bytes, job.tags.clone()),
        Copied::Overtaken => Done::Overtaken,
    });
    Tried { url, done }
}
