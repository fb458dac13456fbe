use super::*;
use crate::lookup::tests::{ZONE, record};

const EDGE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

fn ask(records: &[Record], name: &str, kind: RecordType) -> Reply {
    let [api, dns] = [8, 9].map(|last| Ipv4Addr::new(203, 0, 113, last));
    let served = Served {
        edge: EDGE,
        api,
        tunnel: EDGE,
        dns,
        negative_ttl: 1_800,
    };

    let view = View {
        zone: ZONE,
        served,
        serial: 1,
        records,
    };

    answer(&view, &absolute(name).unwrap(), kind)
}

fn texts(reply: &Reply) -> Vec<String> {
    reply
        .answers
        .iter()
        .map(|answer| answer.data.to_string())
        .collect()
}

#[test]
fn a_proxied_name_answers_with_the_edge_and_hides_its_content() {
    let records = [
        record("CNAME", "api.pr-1", "x.cfargotunnel.com", true),
        record("TXT", "api.pr-1", "o", false),
    ];

    assert_eq!(
        texts(&ask(&records, "api.pr-1.yourdomain.com", RecordType::A)),
        ["203.0.113.7"]
    );
    assert_eq!(
        texts(&ask(&records, "api.pr-1.yourdomain.com", RecordType::TXT)),
        ["o"]
    );

    for kind in [RecordType::AAAA, RecordType::CNAME] {
        let reply = ask(&records, "api.pr-1.yourdomain.com", kind);
        assert_eq!(
            (reply.code, reply.answers.len()),
            (ResponseCode::NoError, 0)
        );
        assert_eq!(
            reply.authorities.first().map(Answer::record_type),
            Some(RecordType::SOA)
        );
    }
}

#[test]
fn an_unproxied_name_answers_as_it_stands() {
    let records = [
        record("A", "a", "192.0.2.1", false),
        record("CNAME", "www", "a.yourdomain.com", false),
        record("CNAME", "tunnel", "x.cfargotunnel.com", false),
    ];

    assert_eq!(
        texts(&ask(&records, "A.yourdomain.com", RecordType::A)),
        ["192.0.2.1"]
    );
    assert_eq!(
        texts(&ask(&records, "www.yourdomain.com", RecordType::A)),
        ["a.yourdomain.com.", "192.0.2.1"]
    );
    assert_eq!(
        texts(&ask(&records, "www.yourdomain.com", RecordType::CNAME)),
        ["a.yourdomain.com."]
    );
    assert_eq!(
        texts(&ask(&records, "tunnel.yourdomain.com", RecordType::A)),
        ["x.cfargotunnel.com."]
    );
}

#[test]
fn an_absent_name_is_nxdomain_with_the_soa() {
    let reply = ask(&[], "gone.yourdomain.com", RecordType::A);
    assert_eq!(
        (reply.code, reply.authoritative),
        (ResponseCode::NXDomain, true)
    );
    assert_eq!(reply.authorities.first().map(|soa| soa.ttl), Some(1_800));
}

#[test]
fn the_apex_has_soa_and_ns() {
    assert_eq!(ask(&[], ZONE, RecordType::NS).answers.len(), 2);
    assert_eq!(ask(&[], ZONE, RecordType::SOA).answers.len(), 1);
    let none = ask(&[], ZONE, RecordType::A);
    assert_eq!((none.code, none.answers.len()), (ResponseCode::NoError, 0));
}

#[test]
fn other_zones_are_refused_and_cloudflares_own_names_are_known() {
    let other = ask(&[], "example.com", RecordType::A);
    assert_eq!(
        (other.code, other.authoritative),
        (ResponseCode::Refused, false)
    );
    assert_eq!(
        ask(&[], "notyourdomain.com", RecordType::A).code,
        ResponseCode::Refused
    );
    assert_eq!(
        ask(&[], "x.cfargotunnel.com", RecordType::A).code,
        ResponseCode::NXDomain
    );
    assert_eq!(
        texts(&ask(&[], "region1.v2.argotunnel.com", RecordType::A)),
        ["203.0.113.7"]
    );
    assert_eq!(
        texts(&ask(&[], "anna.ns.cloudflare.com", RecordType::A)),
        ["203.0.113.9"]
    );
    assert_eq!(
        texts(&ask(&[], "api.cloudflare.com", RecordType::A)),
        ["203.0.113.8"]
    );

    assert!(
        ask(&[], "api.cloudflare.com", RecordType::AAAA)
            .answers
            .is_empty()
    );
}

#[test]
fn a_loop_of_aliases_fails() {
    let records = [
        record("CNAME", "a", "b.yourdomain.com", false),
        record("CNAME", "b", "a.yourdomain.com", false),
    ];
    assert_eq!(
        ask(&records, "a.yourdomain.com", RecordType::A).code,
        ResponseCode::ServFail
    );
}
