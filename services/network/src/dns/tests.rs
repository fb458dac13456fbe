use super::*;

fn wanted(kind: RecordType, target: &str) -> Wanted {
    Wanted {
        zone: "preview.test".into(),
        fqdn: "x.preview.test".into(),
        kind,
        target: target.into(),
        ttl: 60,
        proxied: false,
        mark: Mark {
            cluster: "c".into(),
            owner: "me".into(),
        },
    }
}

fn record(kind: RecordType, target: &str, note: Option<&str>) -> Record {
    Record {
        id: None,
        kind,
        target: target.into(),
        ttl: 60,
        proxied: false,
        note: note.map(Into::into),
    }
}

fn seen(records: &[Record]) -> Seen {
    Seen {
        records: records.to_vec(),
        ..Seen::default()
    }
}

const OURS: Option<&str> = Some("seq:v1:c:me");

fn decide(records: &[Record]) -> Step {
    plan(
        &wanted(RecordType::Cname, "t.example"),
        &seen(records),
        &BTreeSet::new(),
    )
}

#[test]
fn what_is_missing_is_made_and_what_is_right_is_kept() {
    assert_eq!(decide(&[]), Step::Put(vec![]));
    assert_eq!(
        decide(&[record(RecordType::Cname, "T.example.", OURS)]),
        Step::Keep
    );

    let other = record(RecordType::Cname, "u.example", OURS);
    assert_eq!(decide(std::slice::from_ref(&other)), Step::Put(vec![other]));

    let slow = Record {
        ttl: 61,
        ..record(RecordType::Cname, "t.example", OURS)
    };

    assert_eq!(decide(std::slice::from_ref(&slow)), Step::Put(vec![slow]));
}

#[test]
fn what_does_not_carry_our_mark_is_foreign_whatever_it_points_to() {
    for note in [
        None,
        Some(""),
        Some("seq:v1:other:me"),
        Some("heritage=external-dns"),
    ] {
        assert_eq!(
            decide(&[record(RecordType::Cname, "t.example", note)]),
            Step::Foreign,
            "{note:?}"
        );
        assert_eq!(
            decide(&[record(RecordType::A, "192.0.2.1", note)]),
            Step::Foreign,
            "{note:?}"
        );
    }

    let marked = Seen {
        notes: vec!["seq:v1:other:me".into()],
        ..Seen::default()
    };

    assert_eq!(
        plan(
            &wanted(RecordType::A, "192.0.2.1"),
            &marked,
            &BTreeSet::new()
        ),
        Step::Foreign
    );
}

#[test]
fn a_mark_of_this_cluster_is_adopted_only_when_its_owner_is_gone() {
    let theirs = record(RecordType::Cname, "t.example", Some("seq:v1:c:them"));
    let them = BTreeSet::from(["them".to_owned()]);

    assert_eq!(
        decide(std::slice::from_ref(&theirs)),
        Step::Ask(them.clone())
    );

    let adopted = plan(
        &wanted(RecordType::Cname, "t.example"),
        &seen(std::slice::from_ref(&theirs)),
        &them,
    );
    assert_eq!(adopted, Step::Put(vec![theirs]));
}

#[test]
fn addresses_of_both_kinds_live_side_by_side_and_an_alias_alone() {
    let six = record(RecordType::Aaaa, "2001:db8::1", OURS);
    let four = wanted(RecordType::A, "192.0.2.1");

    assert_eq!(
        plan(&four, &seen(std::slice::from_ref(&six)), &BTreeSet::new()),
        Step::Put(vec![])
    );
    assert_eq!(decide(&[six]), Step::Occupied);
    assert_eq!(
        plan(
            &four,
            &seen(&[record(RecordType::Cname, "t.example", OURS)]),
            &BTreeSet::new()
        ),
        Step::Occupied
    );
}

#[test]
fn only_our_own_records_of_the_type_are_deleted() {
    let records = [
        record(RecordType::A, "192.0.2.1", OURS),
        record(RecordType::A, "192.0.2.2", Some("seq:v1:c:them")),
        record(RecordType::A, "192.0.2.3", None),
        record(RecordType::Aaaa, "2001:db8::1", OURS),
    ];
    assert_eq!(
        owned(&wanted(RecordType::A, "192.0.2.9"), &seen(&records)),
        [records[0].clone()]
    );
}
