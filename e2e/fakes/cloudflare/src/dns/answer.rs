//! What the name server says of a name, from the records alone.
use std::net::Ipv4Addr;

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record as Answer, RecordType,
        rdata::{A, AAAA, CNAME, NS, SOA, TXT},
    },
};

use crate::{
    cloud::Served,
    lookup::{Found, lookup},
    name::under,
    record::{AUTOMATIC, Kind, Record},
};

pub(crate) const NAME_SERVERS: [&str; 2] = ["anna.ns.cloudflare.com", "bert.ns.cloudflare.com"];
/// The TTL behind "automatic".
const TTL: u32 = 300;
const DAY: u32 = 86_400;
/// A chain of names longer than this is a loop.
const HOPS: usize = 8;
/// The longest string of a TXT record.
const STRING: usize = 255;

/// What an answer is made from.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) zone: &'a str,
    pub(crate) served: Served,
    pub(crate) serial: u32,
    pub(crate) records: &'a [Record],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Answer>,
    pub(crate) authorities: Vec<Answer>,
}

pub(crate) fn answer(view: &View<'_>, question: &Name, kind: RecordType) -> Reply {
    let name = question.to_lowercase().to_ascii();
    let name = name.trim_end_matches('.');
    if let Some(address) = own(view.served, name) {
        let a = RData::A(A(address));
        let answers = if asks(kind, RecordType::A) {
            vec![Answer::from_rdata(question.clone(), TTL, a)]
        } else {
            vec![]
        };

        return Reply {
            code: ResponseCode::NoError,
            authoritative: true,
            answers,
            authorities: vec![],
        };
    }

    if under(name, "cfargotunnel.com") {
        // The names tunnels are reached by mean something to the edge alone.
        return Reply {
            code: ResponseCode::NXDomain,
            authoritative: true,
            answers: vec![],
            authorities: vec![],
        };
    }

    if !under(name, view.zone) {
        return Reply {
            code: ResponseCode::Refused,
            authoritative: false,
            answers: vec![],
            authorities: vec![],
        };
    }

    let (code, answers) = in_zone(view, question, name, kind);
    let negative = answers.is_empty() || code != ResponseCode::NoError;
    let authorities = if negative {
        soa(view).into_iter().collect()
    } else {
        vec![]
    };

    Reply {
        code,
        authoritative: true,
        answers,
        authorities,
    }
}

/// The names of Cloudflare itself that are served here.
fn own(served: Served, name: &str) -> Option<Ipv4Addr> {
    match name {
        "api.cloudflare.com" => Some(served.api),
        "region1.v2.argotunnel.com" | "region2.v2.argotunnel.com" => Some(served.tunnel),
        name if NAME_SERVERS.contains(&name) => Some(served.dns),
        _ => None,
    }
}

fn in_zone(
    view: &View<'_>,
    question: &Name,
    name: &str,
    kind: RecordType,
) -> (ResponseCode, Vec<Answer>) {
    let mut answers = apex(view, name, kind);
    let (mut owner, mut name) = (question.clone(), name.to_owned());

    for _hop in 0..HOPS {
        let found = match lookup(view.records, view.zone, &name) {
            Found::Records(found) => found,
            Found::Empty => return (ResponseCode::NoError, answers),
            Found::Nothing => return (ResponseCode::NXDomain, answers),
        };

        if found.iter().any(|record| record.content.proxied) {
            if asks(kind, RecordType::A) {
                answers.push(Answer::from_rdata(
                    owner.clone(),
                    TTL,
                    RData::A(A(view.served.edge)),
                ));
            }

            let plain = found
                .into_iter()
                .filter(|record| record.content.kind == Kind::Txt);
            answers.extend(plain.filter_map(|record| data(record, &owner, kind)));
            return (ResponseCode::NoError, answers);
        }

        let alias = found
            .iter()
            .find(|record| record.content.kind == Kind::Cname)
            .copied();

        answers.extend(found.iter().filter_map(|record| data(record, &owner, kind)));
        let follows = !matches!(kind, RecordType::CNAME | RecordType::ANY | RecordType::TXT);
        let Some(alias) = alias.filter(|_| follows) else {
            return (ResponseCode::NoError, answers);
        };

        answers.extend(data(alias, &owner, RecordType::CNAME));
        name.clone_from(&alias.content.content);
        match absolute(&name) {
            Some(next) if under(&name, view.zone) => owner = next,
            _ => return (ResponseCode::NoError, answers),
        }
    }

    (ResponseCode::ServFail, Vec::new())
}

fn apex(view: &View<'_>, name: &str, kind: RecordType) -> Vec<Answer> {
    if name != view.zone {
        return Vec::new();
    }

    let mut answers = Vec::new();

    if asks(kind, RecordType::SOA) {
        answers.extend(soa(view));
    }

    if asks(kind, RecordType::NS) {
        let zone = absolute(view.zone);
        let servers = NAME_SERVERS.iter().filter_map(|server| absolute(server));

        answers.extend(servers.filter_map(|server| {
            Some(Answer::from_rdata(
                zone.clone()?,
                DAY,
                RData::NS(NS(server)),
            ))
        }));
    }

    answers
}

fn soa(view: &View<'_>) -> Option<Answer> {
    let minimum = view.served.negative_ttl;
    let [server, _] = NAME_SERVERS;
    let (server, contact) = (absolute(server)?, absolute("dns.cloudflare.com")?);
    let soa = SOA::new(
        server,
        contact,
        view.serial,
        10_000,
        2_400,
        604_800,
        minimum,
    );

    Some(Answer::from_rdata(
        absolute(view.zone)?,
        minimum,
        RData::SOA(soa),
    ))
}

/// A record as it stands, if it is of the asked type.
fn data(record: &Record, owner: &Name, kind: RecordType) -> Option<Answer> {
    let content = &record.content;
    let (own, data) = match content.kind {
        Kind::A => (RecordType::A, RData::A(A(content.content.parse().ok()?))),
        Kind::Aaaa => (
            RecordType::AAAA,
            RData::AAAA(AAAA(content.content.parse().ok()?)),
        ),
        Kind::Cname => (
            RecordType::CNAME,
            RData::CNAME(CNAME(absolute(&content.content)?)),
        ),
        Kind::Txt => {
            let strings = content.content.as_bytes().chunks(STRING).collect();
            (RecordType::TXT, RData::TXT(TXT::from_bytes(strings)))
        }
    };

    let ttl = if content.ttl == AUTOMATIC {
        TTL
    } else {
        content.ttl
    };

    asks(kind, own).then(|| Answer::from_rdata(owner.clone(), ttl, data))
}

fn asks(kind: RecordType, own: RecordType) -> bool {
    kind == own || kind == RecordType::ANY
}

fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

#[cfg(test)]
mod tests;
