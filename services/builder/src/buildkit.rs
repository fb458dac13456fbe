//! BuildKit: one build at its control API, with a session in which it calls back.

mod failure;
mod files;
mod pattern;
mod progress;
mod request;
mod session;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusRequest, StatusResponse};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sequencer_api::code::Code;
use sequencer_api::login::Login;
use sequencer_proto::v1::Line;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use uuid::Uuid;

pub use failure::{Failure, shown};
pub use progress::FailedStep;
pub use sequencer_api::build::Compression;

use crate::redact::Redact;
use progress::Progress;

/// How much may be under way on a connection and a stream: with h2's own 64 KiB a context of many
/// files stands still.
const WINDOW: u32 = 32 * 1024 * 1024;

/// The most bytes of one of BuildKit's messages (its own limit).
const MESSAGE: usize = 16 * 1024 * 1024;

/// How long BuildKit may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the last updates may take once the result is there.
const LAST_UPDATES: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Job {
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    /// What `RUN --mount=type=secret` gives, by id.
    pub secrets: BTreeMap<String, SecretSlice<u8>>,
    /// More that must not be shown in the log.
    pub hidden: Vec<SecretString>,
    /// Logins by the host that BuildKit asks for.
    pub logins: BTreeMap<String, Login>,
    /// `os/arch[/variant]`; BuildKit's own if empty.
    pub platforms: Vec<String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Attach a list of what the image holds.
    pub sbom: bool,
    /// Attach how the image was made.
    pub provenance: bool,
    /// Take no step from a cache.
    pub no_cache: bool,
    /// Where the image is pushed to: `host/path:tag`.
    pub image: String,
    /// Where steps of builds before may be.
    pub cache_imports: Vec<String>,
    /// Where this build's steps are kept.
    pub cache_export: Option<String>,
    /// The registry speaks plain http.
    pub plain_http: bool,
    /// `host/path` of images that the Dockerfile may not name.
    pub denied: Vec<String>,
    /// Builds of one name share what is left of their contexts in BuildKit.
    pub shared: String,
    /// Builds of one name share the folders of `RUN --mount=type=cache`.
    pub cache_mounts: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The digest that was pushed.
    pub digest: String,
    /// Steps that came from a cache.
    pub cached: usize,
    pub steps: usize,
}

/// What is told of a build while it runs.
#[derive(Debug)]
pub struct Report {
    /// The lines of its log, as they come.
    pub log: mpsc::UnboundedSender<Vec<Line>>,
    /// The step that is under way.
    pub step: watch::Sender<Option<String>>,
}

/// The address is none of BuildKit's.
#[derive(Debug, Error)]
#[error("BuildKit's address is unix:///path or tcp://host:port")]
pub struct WrongAddress;

/// A BuildKit. Clones are the same one.
#[derive(Clone, Debug)]
pub struct BuildKit {
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Socket(PathBuf),
    Host(Box<Endpoint>),
}

impl std::str::FromStr for BuildKit {
    type Err = WrongAddress;

    fn from_str(address: &str) -> Result<Self, WrongAddress> {
        let place = match address.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Place::Socket(path.into()),
            Some(("tcp", place)) if !place.is_empty() => Place::Host(Box::new(
                Endpoint::from_shared(format!("http://{place}")).map_err(|_error| WrongAddress)?,
            )),
            _ => return Err(WrongAddress),
        };
        Ok(Self { place })
    }
}

impl BuildKit {
    /// Builds from the files in the folder `context`, and pushes. Dropping the future cancels the
    /// build.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn build(&self, job: &Job, context: &Path, report: Report) -> Result<Built, Failure> {
        let mut control = self.connect().await?;
        let (reference, session) = (
            Uuid::new_v4().simple().to_string(),
            Uuid::new_v4().simple().to_string(),
        );
        let open = session::open(&mut control, &session, job, context).await;
        let _tasks = open.map_err(|status| gone(status.message()))?;
        let mut progress = Progress::new(redact(job));
        let mut watched = control.clone();
        let status = watched.status(StatusRequest {
            r#ref: reference.clone(),
        });
        let solve = control.solve(request::request(job, &reference, &session));
        tokio::pin!(solve, status);
        let mut updates: Option<Streaming<StatusResponse>> = None;
        let answer = loop {
            // BuildKit answers to `status` only once the build begins, and never if it cannot.
            tokio::select! {
                biased;
                answer = &mut solve => break answer,
                begun = &mut status, if updates.is_none() => match begun {
                    Ok(begun) => updates = Some(begun.into_inner()),
                    Err(_ended) => break (&mut solve).await,
                },
                update = next(&mut updates), if updates.is_some() => match update {
                    Some(update) => report.take(&mut progress, update),
                    None => break (&mut solve).await,
                },
            }
        };

        let rest = async {
            while let Some(update) = next(&mut updates).await {
                report.take(&mut progress, update);
            }
        };

        // What is missing then is missing in the log, and nowhere else.
        let _late = tokio::time::timeout(LAST_UPDATES, rest).await.is_err();
        let response = answer
            .map_err(|answer| Failure::of(&answer, progress.failed(), |text| progress.clean(text)))?
            .into_inner()
            .exporter_response;
        let (cached, steps) = progress.counts();

        match response.get("containerimage.digest") {
            Some(digest) => Ok(Built {
                digest: digest.clone(),
                cached,
                steps,
            }),
            None => Err(Failure::plain(
                Code::BuilderUnavailable,
                "BuildKit reported no digest",
            )),
        }
    }

    async fn connect(&self) -> Result<ControlClient<Channel>, Failure> {
        let tuned = |endpoint: Endpoint| {
            endpoint
                .connect_timeout(CONNECT)
                .initial_connection_window_size(WINDOW)
                .initial_stream_window_size(WINDOW)
        };

        let channel = match &self.place {
            Place::Host(endpoint) => tuned(Endpoint::clone(endpoint)).connect().await,
            Place::Socket(path) => {
                let path = path.clone();
                let connector = service_fn(move |_uri: Uri| {
                    let path = path.clone();
                    async move { io::Result::Ok(TokioIo::new(UnixStream::connect(path).await?)) }
                });

                tuned(Endpoint::from_static("http://buildkit"))
                    .connect_with_connector(connector)
                    .await
            }
        };

        let channel = channel.map_err(|error| gone(&error.to_string()))?;
        Ok(ControlClient::new(channel)
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE))
    }
}

async fn next(updates: &mut Option<Streaming<StatusResponse>>) -> Option<StatusResponse> {
    match updates {
        Some(updates) => updates.message().await.ok().flatten(),
        None => None,
    }
}

impl Report {
    /// Tells what is new. If nobody reads the log, nobody has to.
    fn take(&self, progress: &mut Progress, update: StatusResponse) {
        let lines = progress.take(update);
        if !lines.is_empty() {
            drop(self.log.send(lines));
        }

        let current = progress.current();
        self.step.send_if_modified(|step| {
            let differs = step.as_deref() != current;
            if differs {
                *step = current.map(str::to_owned);
            }
            differs
        });
    }
}

fn gone(words: &str) -> Failure {
    Failure::lost(&format!("it does not answer: {words}"))
}

fn redact(job: &Job) -> Redact {
    let secrets = job.secrets.values().map(ExposeSecret::expose_secret);
    let logins = job
        .logins
        .values()
        .map(|login| login.password.expose_secret().as_bytes());
    let hidden = job
        .hidden
        .iter()
        .map(|value| value.expose_secret().as_bytes());
    Redact::new(secrets.chain(logins).chain(hidden))
}
