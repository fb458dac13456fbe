//! The one account and zone everything else reads and changes.
use std::{
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
};

use crate::{counters::Counters, faults::Faults, limit::Limiter, links::Links, state::Store};

#[derive(Debug)]
pub(crate) struct Zone {
    /// 32 hexadecimal digits, the same for the same name.
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Zone {
    pub(crate) fn new(name: &str) -> Self {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // FNV-1a: an id has to be stable and to look like one, no more.
        let id = name.bytes().fold(
            0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
            |hash, byte| {
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            },
        );

        Self {
            id: format!("{id:032x}"),
            name,
        }
    }
}

/// The addresses DNS answers with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) edge: Ipv4Addr,
    pub(crate) api: Ipv4Addr,
    pub(crate) tunnel: Ipv4Addr,
    pub(crate) dns: Ipv4Addr,
    /// The SOA's minimum, which is how long resolvers keep a NXDOMAIN.
    pub(crate) negative_ttl: u32,
}

pub(crate) struct Cloud {
    pub(crate) account: String,
    pub(crate) second_account: Option<String>,
    pub(crate) zone: Zone,
    pub(crate) served: Served,
    pub(crate) token: Mutex<Option<String>>,
    pub(crate) limiter: Mutex<Limiter>,
    pub(crate) store: Store,
    pub(crate) links: Links,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
}

impl Cloud {
    pub(crate) fn has_account(&self, id: &str) -> bool {
        id == self.account || self.second_account.as_deref() == Some(id)
    }

    pub(crate) fn accepts(&self, token: &str) -> bool {
        self.token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_deref()
            == Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_keeps_its_id() {
        let zone = Zone::new("YourDomain.com.");
        assert_eq!(zone.name, "yourdomain.com");
        assert_eq!(zone.id, Zone::new("yourdomain.com").id);
        assert_ne!(zone.id, Zone::new("elsewhere.com").id);
        assert_eq!(zone.id.len(), 32);
    }
}
