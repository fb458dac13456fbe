//! What goes wrong: with which code people see it, and how it is tried again.

use std::time::Duration;

use sequencer_api::code::{Code, WAITING};
use sequencer_runtime::cluster::secret::SecretError;
use sequencer_runtime::outside::Denied;
use sequencer_runtime::retry::Retry;
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
        /// The zone.
        zone: String,
        /// Whose record it would be.
        namespace: String,
    },
    /// The DNS provider does not let us.
    #[error("the DNS provider refuses: {0}")]
    DnsRefused(String),
    /// The tunnel provider does not let us.
    #[error("Cloudflare refuses: {0}")]
    TunnelRefused(String),
    /// Something at the provider has this name and is not ours.
    #[error("{0} is taken: there is a record that Sequencer did not make for this Workspace, and it is left alone")]
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
    #[error("{0} did not answer: whether it was done is looked at later")]
    Unknown(&'static str, Duration),
    /// Somebody changed the same thing at once.
    #[error("the provider's records changed meanwhile")]
    Changed,
    /// The name servers do not answer with the record yet.
    #[error("{silent} of {all} authoritative name servers do not answer with the record yet")]
    NotAnswered {
        /// How many do not.
        silent: usize,
        /// How many there are.
        all: usize,
        /// When to look again.
        wait: Duration,
    },
    /// A route leads to a component or network that does not exist.
    #[error("a route leads to {0}, which does not exist")]
    NoSuchRoute(String),
    /// The connector has no connection yet.
    #[error("the connector is not connected: {0}")]
    NotConnected(String, Duration),
    /// What is being deleted is still there.
    #[error("still being deleted: {0}")]
    StillThere(&'static str, Duration),
    /// The URL does not answer.
    #[error("{0}")]
    NoAnswer(String, Duration),
    /// An address that may not be connected to.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Something in the cluster has this name and is not ours.
    #[error("{0} exists and belongs to somebody else")]
    NameTaken(String),
    /// The API server did not answer, or refused.
    #[error("the API server refused to {0}")]
    Cluster(&'static str, #[source] kube::Error),
    /// Eight claims in a row ended in no record.
    #[error("the work ended without a record eight times in a row")]
    Poison(Duration),
}

impl Error {
    /// The code that people see.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Secret(error) => error.code(),
            Self::NotGranted { .. } => Code::ZONE_NOT_GRANTED,
            Self::DnsRefused(_) => Code::DNS_REFUSED,
            Self::TunnelRefused(_) => Code::TUNNEL_REFUSED,
            Self::Foreign(_) | Self::Occupied(_) => Code::HOST_TAKEN,
            Self::Away(..) | Self::Limited(..) | Self::Unknown(..) | Self::Changed => Code::PROVIDER_AWAY,
            Self::NotAnswered { .. } => Code::NOT_RESOLVED,
            Self::NoSuchRoute(_) => Code::UNKNOWN_ROUTE,
            Self::NotConnected(..) => Code::NOT_CONNECTED,
            Self::StillThere(..) => Code::STILL_THERE,
            Self::NoAnswer(..) => Code::NO_ANSWER,
            Self::Denied(_) => Code::ADDRESS,
            Self::NameTaken(_) => Code::NOT_OURS,
            Self::Cluster(..) => Code::CLUSTER,
            Self::Poison(_) => Code::POISON,
        }
    }

    /// How it is tried again. Nothing is final: what is refused today may be granted tomorrow.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Limited(_, wait)
            | Self::Unknown(_, wait)
            | Self::NotAnswered { wait, .. }
            | Self::NotConnected(_, wait)
            | Self::StillThere(_, wait)
            | Self::NoAnswer(_, wait)
            | Self::Poison(wait) => Retry::Wait(*wait),
            Self::NotGranted { .. } | Self::NoSuchRoute(_) => Retry::Stalled,
            Self::Secret(_)
            | Self::DnsRefused(_)
            | Self::TunnelRefused(_)
            | Self::Foreign(_)
            | Self::Occupied(_)
            | Self::Away(..)
            | Self::Changed
            | Self::Denied(_)
            | Self::NameTaken(_)
            | Self::Cluster(..) => Retry::Backoff,
        }
    }

    /// Whether nothing is wrong: it only takes its time.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        WAITING.contains(&self.code())
    }

    /// Whether another value of the credential may be the cure.
    #[must_use]
    pub fn is_credential(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::DnsRefused(_) | Self::TunnelRefused(_))
    }
}
