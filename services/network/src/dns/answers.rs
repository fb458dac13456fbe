//! Whether the world can see a record: what the authoritative servers of its zone answer, asked
//! directly, as a resolver would keep "there is nothing" for long.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RData, RecordType as Type};

use super::rfc2136::{absolute, target, wire};
use super::server::ask;
use super::{RecordType, Wanted, same_target};
use crate::error::Error;

/// The port of DNS.
const PORT: u16 = 53;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, or its address where it has none.
    pub name: String,
    /// Where it is; nothing if that is not known.
    pub address: Option<SocketAddr>,
}

/// The servers of a zone, as this resolver knows them.
///
/// # Errors
/// The zone's name is none.
pub async fn of_zone(zone: &str, resolver: SocketAddr) -> Result<Vec<Server>, Error> {
    let found = ask(resolver, &absolute(zone)?, Type::NS, true)
        .await
        .unwrap_or_default();
    let names = found.into_iter().filter_map(|(_, data)| match data {
        RData::NS(server) => Some(server.0),
        _ => None,
    });
    let mut servers = join_all(names.map(|name| async move {
        let address = address(&name, resolver)
            .await
            .map(|address| SocketAddr::new(address, PORT));
        Server {
            name: name.to_ascii().trim_end_matches('.').to_owned(),
            address,
        }
    }))
    .await;
    servers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(servers)
}

async fn address(server: &Name, resolver: SocketAddr) -> Option<IpAddr> {
    for kind in [Type::A, Type::AAAA] {
        let found = ask(resolver, server, kind, true).await.unwrap_or_default();
        let found = found.into_iter().find_map(|(_, data)| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

/// How many of these servers do not answer with the record.
pub async fn silent(wanted: &Wanted, servers: &[Server]) -> usize {
    let answers = join_all(servers.iter().map(|server| answers(wanted, server))).await;
    answers.into_iter().filter(|answered| !answered).count()
}

async fn answers(wanted: &Wanted, server: &Server) -> bool {
    let (Some(address), Ok(name)) = (server.address, absolute(&wanted.fqdn)) else {
        return false;
    };

    if !wanted.proxied {
        let found = ask(address, &name, wire(wanted.kind), false)
            .await
            .unwrap_or_default();
        return found
            .iter()
            .filter_map(|(_, data)| target(data))
            .any(|found| same_target(wanted.kind, &wanted.target, &found));
    }

    // What is proxied is answered with addresses of the edge.
    for kind in [RecordType::A, RecordType::Aaaa] {
        if ask(address, &name, wire(kind), false)
            .await
            .is_ok_and(|found| !found.is_empty())
        {
            return true;
        }
    }

    false
}
