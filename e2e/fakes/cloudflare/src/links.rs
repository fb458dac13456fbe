//! The connections connectors hold open to the edge, by tunnel.
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::client::conn::http2::SendRequest;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::body::Body;

/// One registered connection of one connector.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: Uuid,
    pub(crate) connector: Uuid,
    pub(crate) version: String,
    pub(crate) arch: String,
    pub(crate) origin: IpAddr,
    pub(crate) opened: Timestamp,
    pub(crate) config_version: u64,
    pub(crate) sender: SendRequest<Body>,
    pub(crate) close: CancellationToken,
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    by_tunnel: Mutex<HashMap<Uuid, Vec<Link>>>,
    turn: AtomicUsize,
}

impl Links {
    fn with<R>(&self, tunnel: Uuid, act: impl FnOnce(&mut Vec<Link>) -> R) -> R {
        let mut links = self
            .by_tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(links.entry(tunnel).or_default())
    }

    pub(crate) fn add(&self, tunnel: Uuid, link: Link) {
        self.with(tunnel, |links| links.push(link));
    }

    /// Returns whether the tunnel has none left.
    pub(crate) fn remove(&self, tunnel: Uuid, id: Uuid) -> bool {
        self.with(tunnel, |links| {
            links.retain(|link| link.id != id);
            links.is_empty()
        })
    }

    pub(crate) fn configured(&self, tunnel: Uuid, id: Uuid, version: u64) {
        self.with(tunnel, |links| {
            links
                .iter_mut()
                .filter(|link| link.id == id)
                .for_each(|link| link.config_version = version);
        });
    }

    pub(crate) fn count(&self, tunnel: Uuid) -> usize {
        self.with(tunnel, |links| links.len())
    }

    pub(crate) fn all(&self, tunnel: Uuid) -> Vec<Link> {
        self.with(tunnel, |links| links.clone())
    }

    /// The links to try for a request, another first each time.
    pub(crate) fn pick(&self, tunnel: Uuid) -> Vec<SendRequest<Body>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut senders: Vec<_> = self
            .all(tunnel)
            .into_iter()
            .map(|link| link.sender)
            .collect();
        if !senders.is_empty() {
            let first = turn % senders.len();
            senders.rotate_left(first);
        }

        senders
    }

    /// Cuts the connections of a tunnel, or of one of its connectors.
    pub(crate) fn cut(&self, tunnel: Uuid, connector: Option<Uuid>) {
        self.with(tunnel, |links| {
            links.retain(|link| {
                let cut = connector.is_none_or(|connector| link.connector == connector);
                if cut {
                    link.close.cancel();
                }
                !cut
            });
        });
    }
}
