//! git servers, through the system's git: which commit a branch stands at, and the files of a
//! commit.

mod address;
mod classify;
mod command;
mod login;
mod mirror;
mod objects;
mod private;
mod programs;
mod refs;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sequencer_api::code::Code;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::egress::{EgressGuard, LookupError};
use sequencer_runtime::retry::Retry;
use thiserror::Error as ThisError;

pub use address::{Address, Transport};
pub use login::Login;
pub use objects::File;
pub use refs::is_commit;

use classify::Why;
use command::Git as Call;
use mirror::{Locks, Mirror, Wanted};
use objects::Commit;
use private::Private;

/// How long a server may take to list its refs.
const LIST: Duration = Duration::from_secs(60);

/// Where git keeps things, and what it may bring.
#[derive(Clone, Debug)]
pub struct Settings {
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
    pub files: u64,
    /// How long a fetch may take.
    pub fetch: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 * 1024 * 1024 * 1024,
            files: 200_000,
            fetch: Duration::from_secs(15 * 60),
        }
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
    /// The server wants a login, or another one.
    #[error("{0}")]
    Login(String),
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
        secret: String,
        found: String,
        wanted: &'static str,
    },
    /// The login of a GitHub App is not supported.
    #[error(
        "Secret {secret} is of a GitHub App, which this version cannot log in as: use token or privateKey"
    )]
    GitHubApp { secret: String },
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
            Why::Login => Self::Login(words),
            Why::Refused => Self::Refused(words),
        }
    }

    /// The same in the user's words.
    fn about(self, reference: &str, remote: &Remote) -> Self {
        let host = &remote.address.host;
        match self {
            Self::NoRef(_) if refs::is_like_a_commit(reference) => Self::NoRef(format!(
                "{reference} at {host} (a commit has 40 or 64 digits: 0-9 and a-f, in lower case)"
            )),
            Self::NoRef(_) => Self::NoRef(format!("{reference} at {host}")),
            Self::HostKey(_) => Self::HostKey(host.into()),
            Self::Login(_) => Self::Login(match &remote.login.source {
                Some(secret) => format!(
                    "{host} refuses the login of the Secret {secret}, or has no such repository for it"
                ),
                None => format!(
                    "{host} has no such repository for everybody: name a Secret in credentials.secretRef, or correct the URL"
                ),
            }),
            other => other,
        }
    }

    /// The code that people see.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Url => Code::UrlMalformed,
            Self::NoRef(_) => Code::CommitNotFound,
            Self::Login(_)
            | Self::Refused(_)
            | Self::Slow(_)
            | Self::Lookup(LookupError::NotFound(..)) => Code::GitOperationFailed,
            Self::Lookup(_) => Code::AddressForbidden,
            Self::HostKey(_) => Code::HostKeyUnknown,
            Self::Limit(_) => Code::SourceTooLarge,
            Self::Secret(error) => error.code(),
            Self::Keys { .. } | Self::GitHubApp { .. } | Self::Passphrase => {
                Code::SecretKeysInvalid
            }
            Self::Unsupported(_) => Code::FieldUnsupported,
            Self::Start(_) | Self::Files(_) | Self::Text => Code::BuilderUnavailable,
        }
    }

    /// How it is tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Url | Self::Limit(_) | Self::Unsupported(_) => Retry::Stalled,
            // A branch may be pushed, a host key may be corrected, a Secret may be changed: none of
            // them says so.
            _ => Retry::Backoff,
        }
    }
}

/// A repository with its login.
#[derive(Debug)]
pub struct Remote {
    /// The address that the login is good for.
    pub address: Address,
    pub login: Login,
}

/// A commit of a repository.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// Whose mirror it is fetched into: mirrors are not shared between namespaces.
    pub namespace: &'a str,
    pub remote: &'a Remote,
    pub commit: &'a str,
    /// Where it can be found, if the server does not give commits by themselves.
    pub reference: Option<&'a str>,
    /// How many commits of history.
    pub depth: u32,
}

/// What is read of a commit before any of its files is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The first line of the commit's message.
    pub subject: String,
    /// The tree of the folder that was asked for, or None if there is no such folder.
    pub tree: Option<String>,
    /// The file that was asked for, if one was and there is its folder.
    pub file: Option<File>,
}

/// git. Clones share its mirrors.
#[derive(Clone, Debug)]
pub struct Git {
    settings: Settings,
    egress: EgressGuard,
    locks: Locks,
}

impl Git {
    #[must_use]
    pub fn new(settings: Settings, egress: EgressGuard) -> Self {
        Self {
            settings,
            egress,
            locks: Locks::default(),
        }
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
        let call = call
            .args(["ls-remote", "--quiet", "--", &remote.address.to_string()])
            .args(&wanted);
        let named = reference.unwrap_or("HEAD");
        let answer = call
            .run()
            .await
            .map_err(|error| error.about(named, remote))?;

        refs::pick(&wanted, &answer).ok_or_else(|| Error::NoRef(named.into()).about(named, remote))
    }

    /// Reads a commit: its subject, the tree of `folder`, and `file`, which is relative to it.
    /// Fetches the commit first if no build did before.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn read(
        &self,
        pick: Pick<'_>,
        folder: &str,
        file: Option<&str>,
    ) -> Result<Snapshot, Error> {
        let mirror = self.mirror(pick).await?;
        let Commit { subject, tree } = mirror.commit(pick.commit, folder).await?;

        let file = match (&tree, file) {
            (Some(tree), Some(path)) => Some(mirror.file(tree, path).await?),
            _ => None,
        };

        Ok(Snapshot {
            subject,
            tree,
            file,
        })
    }

    /// Puts the files of a commit into a folder. Fetches the commit first if it is not in the
    /// mirror (any more).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn checkout(&self, pick: Pick<'_>, into: &Path) -> Result<(), Error> {
        let mirror = self.mirror(pick).await?;

        mirror.checkout(pick.commit, into).await
    }

    /// The mirror, with the commit in it. The server is only asked for what is not there.
    async fn mirror(&self, pick: Pick<'_>) -> Result<Mirror<'_>, Error> {
        let Pick { remote, commit, .. } = pick;
        let url = remote.address.to_string();
        let wanted = Wanted {
            source: remote.login.source.as_deref(),
            url: &url,
            commit,
            reference: pick.reference,
            depth: pick.depth,
        };

        let mirror = Mirror::open(&self.settings, &self.locks, pick.namespace, wanted).await?;
        if !mirror.has(commit).await? {
            let private = self.private(remote).await?;
            mirror
                .fetch(&private, wanted)
                .await
                .map_err(|error| error.about(commit, remote))?;
        }

        Ok(mirror)
    }

    async fn private(&self, remote: &Remote) -> Result<Private, Error> {
        let found = self
            .egress
            .lookup(&remote.address.host, remote.address.port())
            .await?;
        let at = found
            .first()
            .ok_or_else(|| Error::Refused(format!("{} has no address", remote.address.host)))?;
        Private::new(&self.settings, &remote.login, &remote.address, at.ip()).await
    }
}
