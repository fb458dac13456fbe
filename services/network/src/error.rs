//! What goes wrong: with which code people see it, and how it is tried again.

use std::time::Duration;

use sequencer_api::code::Code;
use sequencer_api::host::Refusal;
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::egress::Denied;
use sequencer_runtime::retry::Retry;
use sequencer_runtime::section::Failure;
use thiserror::Error;

/// A step failed. No message holds a secret or a provider's raw answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A credential cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No provider serves the zone for this namespace.
    #[error("no DNS provider serves {zone} for namespace {namespace}")]
    NotGranted {
        zone: String,
        /// Whose record it would be.
        namespace: String,
    },
    /// The Workspace may not be reached at one of its hosts.
    #[error(transparent)]
    Host(#[from] Refusal),
    /// The DNS provider does not let us.
    #[error("the DNS provider refused: {0}")]
    DnsRefused(String),
    /// The tunnel provider does not let us.
    #[error("Cloudflare refused: {0}")]
    TunnelRefused(String),
    /// Neither the copy of the credential nor the Workspace's own is there.
    #[error("there is no API token to delete the tunnel with")]
    NoCredential,
    /// Something at the provider has this name and is not ours.
    #[error(
        "{0} is taken: there is a record that Sequencer did not make for this Workspace, and it is left alone"
    )]
    Foreign(String),
    /// Another record of the same Workspace is still there.
    #[error("{0} still has a record of another type, which is being deleted")]
    Occupied(String),
    /// The provider does not answer, or not as it should.
    #[error("{0} does not answer as it should: {1}")]
    Away(&'static str, String),
    /// The provider wants us to be slower.
    #[error("{0} limits our calls")]
    Limited(&'static str, Duration),
    /// It was sent, and nobody knows whether it was done.
    #[error("no answer from {0}; checking again in {wait} s whether it took effect", wait = .1.as_secs())]
    Unknown(&'static str, Duration),
    /// Several calls together took too long, and nobody knows which of them had an effect.
    #[error(
        "not all that is done at {0} was done within {limit} s; checking again in {wait} s what took effect",
        limit = .1.as_secs(), wait = .2.as_secs()
    )]
    Overdue(&'static str, Duration, Duration),
    /// Somebody changed the same thing at once.
    #[error("the provider's records changed meanwhile")]
    Changed,
    /// A route leads to a component or network that does not exist.
    #[error("a route leads to {0}, which does not exist")]
    NoSuchRoute(String),
    /// An address that may not be connected to.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Something in the cluster has this name and is not ours.
    #[error("{0} exists and belongs to somebody else")]
    NameTaken(String),
    /// The API server did not answer, or refused.
    #[error("the API server refused to {0}")]
    Cluster(&'static str, #[source] kube::Error),
}

impl Error {
    /// Whether it is not the API server that failed: that is never given up.
    pub(crate) fn is_outside(&self) -> bool {
        self.code() != Code::ApiServerUnavailable
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Secret(error) => error.code(),
            Self::NotGranted { .. } => Code::ZoneNotGranted,
            Self::Host(refusal) => refusal.code,
            Self::DnsRefused(_) => Code::DnsProviderRefused,
            Self::TunnelRefused(_) | Self::NoCredential => Code::TunnelProviderRefused,
            Self::Foreign(_) | Self::Occupied(_) => Code::HostTaken,
            Self::Away(..)
            | Self::Limited(..)
            | Self::Unknown(..)
            | Self::Overdue(..)
            | Self::Changed => Code::ProviderUnavailable,
            Self::NoSuchRoute(_) => Code::RouteTargetUnknown,
            Self::Denied(_) => Code::AddressForbidden,
            Self::NameTaken(_) => Code::ObjectNotOwned,
            Self::Cluster(..) => Code::ApiServerUnavailable,
        }
    }

    /// Nothing is final: what is refused today may be granted tomorrow.
    fn retry(&self) -> Retry {
        match self {
            Self::Limited(_, wait) | Self::Unknown(_, wait) | Self::Overdue(_, _, wait) => {
                Retry::Wait(*wait)
            }
            Self::NotGranted { .. } | Self::NoSuchRoute(_) => Retry::Stalled,
            Self::Secret(_)
            | Self::Host(_)
            | Self::DnsRefused(_)
            | Self::TunnelRefused(_)
            | Self::NoCredential
            | Self::Foreign(_)
            | Self::Occupied(_)
            | Self::Away(..)
            | Self::Changed
            | Self::Denied(_)
            | Self::NameTaken(_)
            | Self::Cluster(..) => Retry::Backoff,
        }
    }

    fn may_be_a_secrets(&self) -> bool {
        matches!(
            self,
            Self::Secret(_) | Self::DnsRefused(_) | Self::TunnelRefused(_) | Self::NoCredential
        )
    }
}
