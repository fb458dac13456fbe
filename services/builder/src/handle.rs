//! What the builder is woken for, one function for each verb: read, still current? plan, act, record.

mod build;
mod guard;
mod resolve;

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Client, Resource};
use sequencer_api::status::{Retry, Section, State};
use sequencer_proto::topics::{Pool, Verb};
use sequencer_runtime::bus::{Bus, Delivery, Outcome};
use sequencer_runtime::claim::{Holder, Terms};
use sequencer_runtime::cluster::{self, RecordError, StatusPatch};
use sequencer_runtime::outside::{BundleError, Outside};
use sequencer_runtime::retry::{Failing, Waits, failed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tracing::{error, warn};
use uuid::Uuid;

use crate::args::Args;
use crate::buildkit::BuildKit;
use crate::credentials::Reader;
use crate::error::Error as Failed;
use crate::git::{self, Git, Limits};
use crate::key::Pepper;
use crate::staging::{Staging, StagingError};

/// The settings cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Certificate authorities cannot be read.
    #[error("cannot read the certificate authorities")]
    Bundle(#[from] BundleError),
    /// There is no client for the staging registry.
    #[error("cannot make a client for the staging registry")]
    Http(#[from] reqwest::Error),
    /// The staging registry's URL is none.
    #[error("cannot use the staging registry")]
    Staging(#[from] StagingError),
    /// A folder or file cannot be used.
    #[error("cannot use {0}")]
    Files(PathBuf, #[source] std::io::Error),
    /// The login is not `user:password`.
    #[error("{0} is not user:password")]
    Login(PathBuf),
}

/// The builder. Clones share it.
#[derive(Clone)]
pub struct Service {
    client: Client,
    bus: Bus,
    git: Git,
    buildkit: BuildKit,
    staging: Staging,
    /// The staging registry's password, of which the namespaces' keys are made.
    pepper: Pepper,
    pool: Pool,
    pod: String,
    holder: Holder,
    terms: Terms,
    waits: Waits,
    poison: Duration,
    look: Duration,
    max_timeout: Duration,
    work: PathBuf,
}

/// Removes what is in a folder. The folder itself may be a mount.
fn empty(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

impl Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("pool", &self.pool).field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Service {
    /// By these settings. What an earlier process of this pod left half done is removed.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(client: Client, bus: Bus, args: &Args) -> Result<Self, StartError> {
        let outside = Outside::new(&args.outside)?;
        let folder = |name: &str| {
            let path = args.data.join(name);
            std::fs::create_dir_all(&path).map_err(|error| StartError::Files(path.clone(), error))?;
            Ok::<_, StartError>(path)
        };
        let (data, logins, work) = (folder("mirrors")?, folder("logins")?, folder("work")?);
        for left in [&logins, &work] {
            empty(left).map_err(|error| StartError::Files(left.clone(), error))?;
        }
        let login = args.staging_login.as_deref().map(login).transpose()?;
        let pepper = Pepper::new(login.as_ref());
        let staging = Staging::new(outside.trusted().build()?, &args.staging_url, login)?;
        let ca_bundle = args.outside.ca_bundle.clone();
        let settings =
            git::Settings { data, logins, known_hosts: args.known_hosts.clone(), ca_bundle, limits: Limits::default() };
        let periods = &args.shared.periods;
        Ok(Self {
            client,
            bus,
            git: Git::new(settings, outside),
            buildkit: args.buildkit.clone(),
            staging,
            pepper,
            pool: args.pool.clone(),
            pod: args.shared.pod.clone(),
            holder: Holder::new(&args.shared),
            terms: periods.into(),
            waits: periods.into(),
            poison: periods.poison_retry,
            look: args.look,
            max_timeout: args.max_timeout,
            work,
        })
    }

    /// Handles a wake-up.
    pub async fn handle(self, delivery: Delivery) -> Outcome {
        let outcome = match delivery.command.verb() {
            Verb::Resolve => self.resolve(&delivery).await,
            Verb::Build => Box::pin(self.build(&delivery)).await,
            _other => Ok(Outcome::Stale),
        };
        outcome.unwrap_or_else(|error| {
            // The message comes again.
            warn!(error = %told(&error), "the API server cannot be read");
            Outcome::NotRecorded
        })
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A section after a failure.
    fn failure(
        &self,
        before: &Section,
        generation: i64,
        error: &Failed,
        message: String,
        reader: &Reader<'_>,
        uid: Uuid,
    ) -> Section {
        let secrets = if error.because_of_secret() { reader.versions() } else { Default::default() };
        let failing = Failing { code: error.code(), message, retry: error.retry(), secrets };
        // A failure of another generation is another failure.
        let earlier = before.retry.as_ref().filter(|_| before.observed_generation == Some(generation));
        self.failing(before, generation, failed(earlier, failing, &self.waits, uid, Timestamp::now()))
    }

    fn failing(&self, before: &Section, generation: i64, retry: Retry) -> Section {
        warn!(code = retry.code, message = retry.message, attempts = retry.attempts, "failed, and tried again later");
        Section {
            rev: before.rev,
            state: Some(State::Error),
            observed_generation: Some(generation),
            claim: None,
            retry: Some(retry),
        }
    }
}

/// Writes a section over the one that was read.
async fn record<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    section: &str,
    rev: i64,
    value: &impl Serialize,
) -> Result<K, Outcome>
where
    K: Clone + DeserializeOwned + Debug,
{
    let patch = StatusPatch::new(uid).section(section, rev, value);
    let written = match patch {
        Ok(patch) => patch.apply(api, name).await,
        Err(error) => Err(error),
    };
    written.map_err(|refused| match refused {
        RecordError::Conflict => Outcome::Stale,
        RecordError::Gone => Outcome::Gone,
        RecordError::Invalid(_) | RecordError::Json(_) => {
            error!(error = %told(&refused), section, "a result does not fit its status");
            Outcome::NotRecorded
        }
        other => {
            warn!(error = %told(&other), section, "a result cannot be recorded");
            Outcome::NotRecorded
        }
    })
}

/// The object as it is now, unless it is gone or going.
async fn wanted<K>(api: &Api<K>, delivery: &Delivery) -> kube::Result<Result<K, Outcome>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let uid = delivery.command.uid().to_string();
    Ok(match cluster::current(api, &delivery.wake.name, &uid).await? {
        None => Err(Outcome::Gone),
        Some(found) if found.meta().deletion_timestamp.is_some() => Err(Outcome::Stale),
        Some(found) => Ok(found),
    })
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn login(file: &std::path::Path) -> Result<sequencer_api::login::Login, StartError> {
    let text = std::fs::read_to_string(file).map_err(|error| StartError::Files(file.into(), error))?;
    let (username, password) = text.trim_end().split_once(':').ok_or_else(|| StartError::Login(file.into()))?;
    Ok(sequencer_api::login::Login { username: username.into(), password: password.to_owned().into() })
}
