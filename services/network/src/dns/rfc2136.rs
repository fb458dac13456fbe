//! Records by signed updates (RFC 2136, RFC 8945). The mark is a text at `_seq.<host>`, written in
//! the same update. What was seen is the update's prerequisite: the server itself compares before
//! it sets.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use data_encoding::BASE64;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm as Algorithm, TsigError};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record as Entry, RecordType as Type, TSigner};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::provider::{Rfc2136, TsigAlgorithm};

use super::server::{Silent, ask, exchange};
use super::{Provider, Record, RecordType, Seen, Wanted};
use crate::error::Error;

/// Who does not answer, in messages.
const NAME: &str = "the name server";

/// How far the two clocks may be apart, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;

/// A server that takes signed updates.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    signer: TSigner,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// The server of a provider, with its key as named.conf has it.
    ///
    /// # Errors
    /// It is not found, or the key is none.
    pub async fn new(provider: &Rfc2136, key: &SecretString) -> Result<Self, Error> {
        let secret = BASE64.decode(key.expose_secret().trim().as_bytes());
        let secret =
            secret.map_err(|_error| Error::DnsRefused("the TSIG secret is no base64".into()))?;
        let algorithm = match provider.tsig_algorithm {
            TsigAlgorithm::Sha256 => Algorithm::HmacSha256,
            TsigAlgorithm::Sha384 => Algorithm::HmacSha384,
            TsigAlgorithm::Sha512 => Algorithm::HmacSha512,
        };

        let signer = TSigner::new(secret, algorithm, absolute(&provider.tsig_key_name)?, FUDGE);
        let signer =
            signer.map_err(|_error| Error::DnsRefused("the TSIG key cannot be used".into()))?;

        Ok(Self {
            address: resolve(&provider.nameserver).await?,
            signer,
        })
    }

    async fn texts(&self, name: &Name) -> Result<Vec<String>, Error> {
        let found = ask(self.address, name, Type::TXT, false)
            .await
            .map_err(away)?;
        Ok(found.iter().filter_map(|(_, data)| text(data)).collect())
    }

    /// Sends an update and believes only a signed answer.
    async fn update(&self, wanted: &Wanted, mut message: Message) -> Result<(), Error> {
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let signed = message.finalize(&self.signer, now).ok().flatten();
        let mut verifier =
            signed.ok_or_else(|| Error::DnsRefused("the update cannot be signed".into()))?;
        let bytes = exchange(self.address, &message).await.map_err(away)?;
        let answer = Message::from_vec(&bytes).map_err(|_error| away(Silent::Form))?;
        judge(&answer, wanted)?;
        match verifier.verify(&bytes) {
            Ok(_) => Ok(()),
            Err(_error) => Err(Error::DnsRefused(
                "its answer is not signed with our key".into(),
            )),
        }
    }
}

/// What an answer to an update says.
fn judge(answer: &Message, wanted: &Wanted) -> Result<(), Error> {
    let refused = |why: &str| Err(Error::DnsRefused(why.into()));
    let tsig = answer
        .signature()
        .and_then(|signature| signature.data.error);
    match (answer.metadata.response_code, tsig) {
        (_, Some(TsigError::BadSig)) => {
            refused("BADSIG: the TSIG secret is not the one that the server has")
        }
        (_, Some(TsigError::BadKey)) => {
            refused("BADKEY: the server does not know the TSIG key's name or algorithm")
        }
        (_, Some(TsigError::BadTime)) => {
            refused("BADTIME: the server's clock and ours are more than 5 minutes apart")
        }
        (_, Some(error)) => refused(&format!("TSIG error {}", u16::from(error))),
        (ResponseCode::NoError, None) => Ok(()),
        // Only "the name is not in use" is answered so: it has records of other types.
        (ResponseCode::YXDomain, None) => Err(Error::Foreign(wanted.fqdn.clone())),
        (ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain, None) => {
            Err(Error::Changed)
        }
        (ResponseCode::Refused, None) => refused("REFUSED: the key may not update this name"),
        (ResponseCode::NotAuth | ResponseCode::NotZone, None) => refused(&format!(
            "the server is not authoritative for {}",
            wanted.zone
        )),
        (code, None) => Err(Error::Away(NAME, format!("it answers {code}"))),
    }
}

impl Provider for Server {
    async fn observe(&self, wanted: &Wanted) -> Result<Seen, Error> {
        let host = absolute(&wanted.fqdn)?;
        let notes = self.texts(&mark_name(&host)?).await?;
        let own = wanted.mark.to_string();
        let note = notes.iter().find(|note| **note != own).or(notes.first());
        let mut records = Vec::new();

        for kind in looked_at(wanted.kind) {
            let found = ask(self.address, &host, wire(kind), false)
                .await
                .map_err(away)?;
            records.extend(found.into_iter().filter_map(|(ttl, data)| {
                let target = target(&data)?;
                Some(Record {
                    id: None,
                    kind,
                    target,
                    ttl,
                    proxied: false,
                    note: note.cloned(),
                })
            }));
        }

        Ok(Seen {
            zone_id: None,
            records,
            notes,
        })
    }

    async fn put(&self, wanted: &Wanted, seen: &Seen, replaced: &[Record]) -> Result<(), Error> {
        let host = absolute(&wanted.fqdn)?;
        let (mark, own) = (mark_name(&host)?, wanted.mark.to_string());
        let mut message = conditional(wanted, seen, &host)?;

        for kind in kinds(replaced) {
            message.add_authority(nothing(&host, wire(kind), DNSClass::ANY));
        }

        message.add_authority(Entry::from_rdata(
            host,
            wanted.ttl,
            data(wanted.kind, &wanted.target)?,
        ));

        if seen.notes.iter().any(|note| *note != own) {
            message.add_authority(nothing(&mark, Type::TXT, DNSClass::ANY));
        }

        message.add_authority(Entry::from_rdata(
            mark,
            wanted.ttl,
            data(RecordType::Txt, &own)?,
        ));
        self.update(wanted, message).await
    }

    async fn delete(&self, wanted: &Wanted, seen: &Seen, records: &[Record]) -> Result<(), Error> {
        let host = absolute(&wanted.fqdn)?;
        let mut message = conditional(wanted, seen, &host)?;
        let going = kinds(records);
        for kind in &going {
            message.add_authority(nothing(&host, wire(*kind), DNSClass::ANY));
        }

        // The mark is the host's: it stays as long as any record does.
        if seen
            .records
            .iter()
            .all(|record| going.contains(&record.kind))
        {
            message.add_authority(nothing(&mark_name(&host)?, Type::TXT, DNSClass::ANY));
        }

        self.update(wanted, message).await
    }
}

/// An update that is made only if everything is still as it was seen.
fn conditional(wanted: &Wanted, seen: &Seen, host: &Name) -> Result<Message, Error> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(absolute(&wanted.zone)?, Type::SOA));
    if wanted.kind == RecordType::Cname && seen.records.is_empty() {
        // An alias is alone: beside a record of any type the server would leave it out without a
        // word.
        message.add_answer(nothing(host, Type::ANY, DNSClass::NONE));
    }

    for kind in looked_at(wanted.kind) {
        let there: Vec<_> = seen
            .records
            .iter()
            .filter(|record| record.kind == kind)
            .collect();
        if there.is_empty() {
            message.add_answer(nothing(host, wire(kind), DNSClass::NONE));
        }

        for record in there {
            message.add_answer(Entry::from_rdata(
                host.clone(),
                0,
                data(kind, &record.target)?,
            ));
        }
    }

    let mark = mark_name(host)?;

    if seen.notes.is_empty() {
        message.add_answer(nothing(&mark, Type::TXT, DNSClass::NONE));
    }

    for note in &seen.notes {
        message.add_answer(Entry::from_rdata(
            mark.clone(),
            0,
            data(RecordType::Txt, note)?,
        ));
    }

    Ok(message)
}

/// The types that say whether a record may stand there.
fn looked_at(kind: RecordType) -> Vec<RecordType> {
    let text = (kind == RecordType::Txt).then_some(RecordType::Txt);
    [RecordType::A, RecordType::Aaaa, RecordType::Cname]
        .into_iter()
        .chain(text)
        .collect()
}

fn kinds(records: &[Record]) -> Vec<RecordType> {
    let mut seen = BTreeSet::new();
    records
        .iter()
        .map(|record| record.kind)
        .filter(|kind| seen.insert(kind.as_str()))
        .collect()
}

/// A record without data: the class says whether it is a condition or a deletion.
fn nothing(name: &Name, kind: Type, class: DNSClass) -> Entry {
    let mut entry = Entry::update0(name.clone(), 0, kind);
    entry.dns_class = class;
    entry
}

/// The type on the wire.
#[must_use]
pub(super) fn wire(kind: RecordType) -> Type {
    match kind {
        RecordType::A => Type::A,
        RecordType::Aaaa => Type::AAAA,
        RecordType::Cname => Type::CNAME,
        RecordType::Txt => Type::TXT,
    }
}

fn data(kind: RecordType, target: &str) -> Result<RData, Error> {
    let wrong = || {
        Error::DnsRefused(format!(
            "{target} is no target of a record of type {}",
            kind.as_str()
        ))
    };
    Ok(match kind {
        RecordType::A => RData::A(A(target.parse().map_err(|_error| wrong())?)),
        RecordType::Aaaa => RData::AAAA(AAAA(target.parse().map_err(|_error| wrong())?)),
        RecordType::Cname => RData::CNAME(CNAME(absolute(target)?)),
        RecordType::Txt => RData::TXT(TXT::new(vec![target.into()])),
    })
}

/// What a record points to, as it is written.
pub(super) fn target(data: &RData) -> Option<String> {
    match data {
        RData::A(A(address)) => Some(address.to_string()),
        RData::AAAA(AAAA(address)) => Some(address.to_string()),
        RData::CNAME(CNAME(name)) => Some(name.to_ascii().trim_end_matches('.').to_owned()),
        RData::TXT(_) => text(data),
        _ => None,
    }
}

fn text(data: &RData) -> Option<String> {
    let RData::TXT(text) = data else { return None };
    Some(
        text.txt_data
            .iter()
            .map(|part| String::from_utf8_lossy(part))
            .collect(),
    )
}

/// Where the mark of a host is.
fn mark_name(host: &Name) -> Result<Name, Error> {
    host.prepend_label("_seq")
        .map_err(|_error| Error::DnsRefused(format!("{host} is too long for its mark")))
}

/// A name from its root.
pub(crate) fn absolute(name: &str) -> Result<Name, Error> {
    let name = format!("{}.", name.trim_end_matches('.'));
    Name::from_ascii(&name).map_err(|_error| Error::DnsRefused(format!("{name} is no name")))
}

fn away(silent: Silent) -> Error {
    Error::Away(NAME, silent.to_string())
}

/// The address of `host:port`, `host` or `[address]:port`.
pub(super) async fn resolve(server: &str) -> Result<SocketAddr, Error> {
    let found = if let Ok(address) = server.parse::<SocketAddr>() {
        Some(address)
    } else if let Ok(address) = server.parse() {
        Some(SocketAddr::new(address, 53))
    } else {
        let named = if server.contains(':') {
            server.to_owned()
        } else {
            format!("{server}:53")
        };
        tokio::net::lookup_host(named)
            .await
            .ok()
            .and_then(|mut found| found.next())
    };
    found.ok_or_else(|| Error::Away(NAME, format!("{server} is not found")))
}
