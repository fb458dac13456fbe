//! What can go wrong between here and a registry. Which code it has for users is the service's.

use reqwest::StatusCode;
use thiserror::Error;

use crate::egress::Denied;

/// What a registry did instead of what it was asked for.
#[derive(Debug, Error)]
pub enum Fault {
    /// There is no connection, or it broke.
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// Nothing moved for too long.
    #[error("it is silent")]
    Silent,
    /// It has too much to do, or is broken.
    #[error("it answers {0}")]
    Busy(StatusCode),
    /// The token was good no longer: the next request gets another.
    #[error("its token is over")]
    Expired,
    /// The login, or the lack of one, does not suffice.
    #[error("it refused the login ({0})")]
    Refused(StatusCode),
    /// There is no such thing.
    #[error("it does not have it")]
    Missing,
    /// It leads to a private address.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It answers what the protocol does not know.
    #[error("{0}")]
    Protocol(&'static str),
    /// It does not take what it was sent.
    #[error("it does not take it ({0})")]
    Answer(StatusCode),
    /// Its content is not what its digest says.
    #[error("its content does not have its digest")]
    Digest,
}

impl From<reqwest::Error> for Fault {
    /// Without the URL: that of an upload holds its state.
    fn from(error: reqwest::Error) -> Self {
        match Denied::behind(&error) {
            Some(denied) => Self::Denied(denied.clone()),
            None => Self::Unreachable(error.without_url()),
        }
    }
}

impl Fault {
    /// Whether it may be over a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(error) => !error.is_builder(),
            Self::Busy(_) | Self::Expired => true,
            _ => false,
        }
    }
}
