//! Who reads commands.

use std::time::Duration;

use super::subject::NO_POOL;
use super::{Pool, Service};

/// How long a delivered command may stay without a sign of life before another replica gets it.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// The most commands of one consumer that are under way at once.
pub const MAX_ACK_PENDING: i64 = 1000;

/// A durable pull consumer of [`COMMANDS`](super::COMMANDS). The filters of two consumers never overlap: a work queue
/// refuses that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// The durable name: the service's, with `-<pool>` for builders.
    pub name: String,
    /// The subjects that it gets.
    pub filter: String,
}

impl Consumer {
    /// The builders' of one pool.
    #[must_use]
    pub fn builder(pool: &Pool) -> Self {
        Self::of(Service::Builder, Some(pool))
    }

    /// The registry-pusher's.
    #[must_use]
    pub fn registry_pusher() -> Self {
        Self::of(Service::RegistryPusher, None)
    }

    /// The network service's.
    #[must_use]
    pub fn network() -> Self {
        Self::of(Service::Network, None)
    }

    /// The deployer's.
    #[must_use]
    pub fn deployer() -> Self {
        Self::of(Service::Deployer, None)
    }

    /// Every consumer, given the pools that there are.
    pub fn all<'a>(pools: impl IntoIterator<Item = &'a Pool>) -> Vec<Self> {
        let others = [Self::registry_pusher(), Self::network(), Self::deployer()];
        pools.into_iter().map(Self::builder).chain(others).collect()
    }

    pub(super) fn of(service: Service, pool: Option<&Pool>) -> Self {
        let name = pool.map_or_else(|| service.to_string(), |pool| format!("{service}-{pool}"));
        let pool = pool.map_or(NO_POOL, Pool::as_str);
        Self { name, filter: format!("seq.v1.cmd.{service}.*.{pool}.*.*.*") }
    }
}
