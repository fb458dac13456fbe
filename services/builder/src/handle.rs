//! The builder and its two verbs.

mod build;
mod resolve;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use sequencer_api::pool::Access;
use sequencer_proto::topics::{BuildLog, Pool, Verb};
use sequencer_runtime::bus::{Bus, Delivery, Outcome};
use sequencer_runtime::egress::{BundleError, EgressGuard};
use sequencer_runtime::registry::{self, LoginFileError};
use sequencer_runtime::section::Sections;
use thiserror::Error;

use self::build::Builder;
use self::resolve::Resolver;
use crate::args::Args;
use crate::buildkit::BuildKit;
use crate::git::{self, Git, Limits};
use crate::key::Pepper;
use crate::lease::Supervisor;
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
    /// The file of the staging registry's login holds none.
    #[error(transparent)]
    Login(#[from] LoginFileError),
    /// Builds would run at once that must not see each other.
    #[error(
        "--concurrency above 1 needs --shared-processes: steps of builds that run at once see each other's processes and secrets"
    )]
    Shared,
}

/// The builder. Clones share it.
#[derive(Clone)]
pub struct Service {
    sections: Sections,
    bus: Bus,
    git: Git,
    buildkit: BuildKit,
    supervisor: Option<Supervisor>,
    staging: Staging,
    /// The staging registry's password, of which the namespaces' keys are made.
    pepper: Pepper,
    pool: Pool,
    open_to: Access,
    pod: String,
    check_wanted: Duration,
    max_timeout: Duration,
    work: PathBuf,
}

/// Removes what is in a folder. The folder itself may be a mount.
fn empty(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path)?
        } else {
            std::fs::remove_file(path)?
        }
    }
    Ok(())
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("pool", &self.pool)
            .field("sections", &self.sections)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// By these settings. What an earlier process of this pod left half done is removed.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(client: Client, bus: Bus, args: &Args) -> Result<Self, StartError> {
        if args.concurrency > 1 && !args.shared_processes {
            return Err(StartError::Shared);
        }

        let egress = EgressGuard::new(&args.egress)?;
        let folder = |name: &str| {
            let path = args.data.join(name);
            std::fs::create_dir_all(&path)
                .map_err(|error| StartError::Files(path.clone(), error))?;
            Ok::<_, StartError>(path)
        };

        let (data, logins, work) = (folder("mirrors")?, folder("logins")?, folder("work")?);
        for left in [&logins, &work] {
            empty(left).map_err(|error| StartError::Files(left.clone(), error))?;
        }

        let login = args.staging_login.as_deref();
        let login = login.map(registry::read_login_file).transpose()?;
        let pepper = Pepper::new(login.as_ref());
        let staging = Staging::new(registry::trusted_client(&egress)?, &args.staging_url, login)?;
        let ca_bundle = args.egress.ca_bundle.clone();
        let settings = git::Settings {
            data,
            logins,
            known_hosts: args.known_hosts.clone(),
            ca_bundle,
            limits: Limits::default(),
        };

        Ok(Self {
            sections: Sections::new(client, &args.shared),
            bus,
            git: Git::new(settings, egress),
            buildkit: args.buildkit.clone(),
            supervisor: args.supervisor.clone(),
            staging,
            pepper,
            pool: args.pool.clone(),
            open_to: Access::new(&args.pool_namespaces),
            pod: args.shared.pod.clone(),
            check_wanted: args.check_wanted,
            max_timeout: args.max_timeout,
            work,
        })
    }

    /// Whether the builds of a namespace are this builder's. The watcher asks first; this is a look
    /// of its own.
    fn serves(&self, namespace: &str, pool: &str) -> bool {
        pool == self.pool.as_str() && self.open_to.contains(namespace)
    }

    pub async fn handle(self, delivery: Delivery) -> Outcome {
        match delivery.command.verb() {
            Verb::Resolve => self.sections.handle(&Resolver(&self), &delivery).await,
            Verb::Build => {
                let builder = Builder {
                    service: &self,
                    log: BuildLog {
                        workspace: delivery.command.workspace(),
                        build: delivery.command.uid(),
                    },
                };
                self.sections.handle(&builder, &delivery).await
            }
            _other => Outcome::Stale,
        }
    }
}
