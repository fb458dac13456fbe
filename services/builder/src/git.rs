//! git servers, through the system's git: which commit a branch stands at, and the files of a commit.

mod address;
mod classify;
mod command;
mod login;
mod mirror;
mod private;
mod refs;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sequencer_api::code::Code;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::outside::{LookupError, Outside};
use sequencer_runtime::retry::Retry;
use thiserror::Error as ThisError;

pub use address::{Address, Transport};
pub use login::Login;
pub use refs::is_commit;

use classify::Why;
use command::Git as Call;
use mirror::{Locks, Mirror, Wanted};
use private::Private;

/// How long a server may take to list its refs.
const LIST: Duration = Duration::from_secs(60);

/// Where git keeps things, and what it may bring.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Mirrors.
    pub data: PathBuf,
    /// Logins and configurations, each as long as its call: in memory, if possible.
    pub logins: PathBuf,
    /// Host keys that the operator vouches for.
    pub known_hosts: Option<PathBuf>,
    /// Certificate authorities besides the system's.
    pub ca_bundle: Option<PathBuf>,
    /// What one repository may bring.
    pub limits: Limits,
}

/// What one repository may bring (E#1015).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes, as fetched and as files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// How long a fetch may take.
    pub fetch: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 2 * 1024 * 1024 * 1024, files: 200_000, fetch: Duration::from_secs(15 * 60) }
    }
}

/// A commit cannot be found or fetched. No message tells of a login.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The URL is none of ours.
    #[error("the git URL is neither https:// nor ssh:// nor user@host:path")]
    Url,
    /// There is no such branch, tag or commit.
    #[error("there is no {0}: push it, or correct ref")]
    NoRef(String),
    /// The server refused, or did not answer.
    #[error("the git server refused or did not answer: {0}")]
    Refused(String),
    /// The host's key is not the one that is known.
    #[error(
        "the host key of {0} is not the known one: put the right one into known_hosts of the Secret, or ask the operator"
    )]
    HostKey(String),
    /// The host has no address that may be connected to.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It brings more than is allowed.
    #[error("the repository is too big: {0}")]
    Limit(String),
    /// git took too long.
    #[error("git took longer than {0:?}")]
    Slow(Duration),
    /// The Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The Secret has other keys.
    #[error("Secret {secret} has {found}; wanted is {wanted}")]
    Keys {
        /// Where it is.
        secret: String,
        /// Its keys.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// The login of a GitHub App is not supported.
    #[error("Secret {secret} is of a GitHub App, which this version cannot log in as: use token or privateKey")]
    GitHubApp {
        /// Where it is.
        secret: String,
    },
    /// The key's passphrase is another.
    #[error("the passphrase does not unlock the private key")]
    Passphrase,
    /// Submodules and large files are not fetched.
    #[error("{0} is not supported by this version: set it to false")]
    Unsupported(&'static str),
    /// A program is missing.
    #[error("git or ssh cannot be started")]
    Start(#[source] io::Error),
    /// The disk is full, or a file of the operator's is missing.
    #[error("a file for git cannot be written or read")]
    Files(#[source] io::Error),
    /// Text cannot be put together.
    #[error("git's configuration cannot be written")]
    Text,
}

impl Error {
    fn git(why: Why, words: String) -> Self {
        match why {
            Why::NoRef => Self::NoRef(words),
            Why::HostKey => Self::HostKey(words),
            Why::Refused => Self::Refused(words),
        }
    }

    /// The same, told in the user's words.
    fn about(self, reference: &str, host: &str) -> Self {
        match self {
            Self::NoRef(_) => Self::NoRef(format!("{reference} at {host}")),
            Self::HostKey(_) => Self::HostKey(host.into()),
            other => other,
        }
    }

    /// The code that people see.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Url => Code::MALFORMED_URL,
            Self::NoRef(_) => Code::NO_COMMIT,
            Self::Refused(_) | Self::Slow(_) | Self::Lookup(LookupError::NotFound(..)) => Code::GIT_REFUSED,
            Self::Lookup(_) => Code::ADDRESS,
            Self::HostKey(_) => Code::HOST_KEY,
            Self::Limit(_) => Code::SOURCE_LIMIT,
            Self::Secret(error) => error.code(),
            Self::Keys { .. } | Self::GitHubApp { .. } | Self::Passphrase => Code::SECRET_KEYS,
            Self::Unsupported(_) => Code::UNSUPPORTED,
            Self::Start(_) | Self::Files(_) | Self::Text => Code::BUILDER,
        }
    }

    /// How it is tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Url | Self::Limit(_) | Self::Unsupported(_) => Retry::Stalled,
            // A branch may be pushed, a host key may be corrected, a Secret may be changed: none of them says so.
            _ => Retry::Backoff,
        }
    }
}

/// A repository with its login.
#[derive(Debug)]
pub struct Remote {
    /// The address that the login is good for.
    pub address: Address,
    /// The login.
    pub login: Login,
}

/// A commit to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// The commit.
    pub commit: &'a str,
    /// Where it can be found, if the server does not give commits by themselves.
    pub reference: Option<&'a str>,
    /// How many commits of history.
    pub depth: u32,
}

/// A folder with the files of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The first line of the commit's message.
    pub subject: String,
    /// The tree of the folder that was asked for; nothing if there is no such folder.
    pub tree: Option<String>,
}

/// git. Clones share its mirrors.
#[derive(Clone, Debug)]
pub struct Git {
    settings: Settings,
    outside: Outside,
    locks: Locks,
}

impl Git {
    /// With these settings.
    #[must_use]
    pub fn new(settings: Settings, outside: Outside) -> Self {
        Self { settings, outside, locks: Locks::default() }
    }

    /// The commit at which a ref stands now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resolve(&self, remote: &Remote, reference: Option<&str>) -> Result<String, Error> {
        if let Some(commit) = reference.filter(|reference| is_commit(reference)) {
            return Ok(commit.into());
        }
        let private = self.private(remote).await?;
        let wanted = refs::candidates(reference);
        let call = Call::new(&private, "https:ssh", LIST).at(&self.settings.logins);
        let call = call.args(["ls-remote", "--quiet", "--", &remote.address.to_string()]).args(&wanted);
        let named = reference.unwrap_or("HEAD");
        let answer = call.run().await.map_err(|error| error.about(named, &remote.address.host))?;
        refs::pick(&wanted, &answer).ok_or_else(|| Error::NoRef(named.into()).about(named, &remote.address.host))
    }

    /// Fetches a commit and puts its files into a folder; `tree` names the folder in it that is of interest.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(
        &self,
        namespace: &str,
        remote: &Remote,
        pick: Pick<'_>,
        tree: &str,
        into: &Path,
    ) -> Result<Fetched, Error> {
        let url = remote.address.to_string();
        let Pick { commit, reference, depth } = pick;
        let wanted = Wanted { source: remote.login.source.as_deref(), url: &url, commit, reference, depth };
        let private = self.private(remote).await?;
        let mirror = Mirror::open(&self.settings, &self.locks, namespace, wanted).await?;
        mirror.fetch(&private, wanted).await.map_err(|error| error.about(commit, &remote.address.host))?;
        mirror.checkout(commit, into).await?;
        Ok(Fetched { subject: mirror.subject(commit).await?, tree: mirror.tree(commit, tree).await? })
    }

    async fn private(&self, remote: &Remote) -> Result<Private, Error> {
        let found = self.outside.lookup(&remote.address.host, remote.address.port()).await?;
        let at = found.first().ok_or_else(|| Error::Refused(format!("{} has no address", remote.address.host)))?;
        Private::new(&self.settings, &remote.login, &remote.address, at.ip()).await
    }
}
