//! Who reads commands.

use std::time::Duration;

use super::subject::NO_POOL;
use super::{Pool, Service, Verb};

/// How long a delivered command may stay without a sign of life before another replica gets it.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// The most commands of one consumer that are under way at once.
pub const MAX_ACK_PENDING: i64 = 1000;

/// A durable pull consumer of [`COMMANDS`](super::COMMANDS). The filters of two consumers never
/// overlap: a work queue refuses that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// The durable name: the service's, with `-<pool>` for what builders do.
    pub name: String,
    /// The subjects that it gets.
    pub filter: String,
}

impl Consumer {
    /// The builds of one pool.
    #[must_use]
    pub fn builder(pool: &Pool) -> Self {
        Self::of(Verb::Build, Some(pool))
    }

    /// The branch look-ups of one pool. They have a consumer of their own, so that no long build is
    /// in their way.
    #[must_use]
    pub fn resolver(pool: &Pool) -> Self {
        Self::of(Verb::Resolve, Some(pool))
    }

    /// The registry-pusher's.
    #[must_use]
    pub fn registry_pusher() -> Self {
        Self::of(Verb::Push, None)
    }

    /// The network service's.
    #[must_use]
    pub fn network() -> Self {
        Self::of(Verb::Dns, None)
    }

    /// The deployer's.
    #[must_use]
    pub fn deployer() -> Self {
        Self::of(Verb::Deploy, None)
    }

    /// Every consumer, given the pools that there are. Whoever makes them does it in this order:
    /// before look-ups had a consumer of their own, `builder-<pool>` got both verbs, and NATS
    /// refuses a second consumer of the same subjects until the first one's filter is narrowed.
    pub fn all<'a>(pools: impl IntoIterator<Item = &'a Pool>) -> Vec<Self> {
        let of_pool = |pool| [Self::builder(pool), Self::resolver(pool)];
        let others = [Self::registry_pusher(), Self::network(), Self::deployer()];
        pools.into_iter().flat_map(of_pool).chain(others).collect()
    }

    pub(super) fn of(verb: Verb, pool: Option<&Pool>) -> Self {
        let service = verb.service();
        // A service without pools has one consumer for all its verbs.
        let (name, verb) = match verb {
            Verb::Build => (Service::Builder.word(), verb.word()),
            Verb::Resolve => ("resolver", verb.word()),
            _ => (service.word(), "*"),
        };
        let name = pool.map_or_else(|| name.to_owned(), |pool| format!("{name}-{pool}"));
        let pool = pool.map_or(NO_POOL, Pool::as_str);
        Self {
            name,
            filter: format!("seq.v1.cmd.{service}.{verb}.{pool}.*.*.*"),
        }
    }
}
