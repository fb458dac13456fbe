use serde_json::{Value, json};

use super::*;
use crate::provider::parse;

const PROVIDERS: &str = "
- {name: bank, zones: [bank.example], namespaces: [team-a], allowNames: true, wildcard: {}}
- {name: lab, zones: [preview.test], wildcard: {}}
";

fn zones() -> Zones {
    Zones {
        cluster_id: "c1".into(),
        providers: parse(PROVIDERS).unwrap(),
    }
}

fn workspace(namespace: &str, uid: &str, dns: Value) -> Workspace {
    let rule = |name: &str, subdomain: Option<&str>| json!({"name": name, "component": "web", "network": "http", "subdomain": subdomain});
    serde_json::from_value(json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace",
        "metadata": {"name": "w", "namespace": namespace, "uid": uid},
        "spec": {
            "networking": {"dns": dns, "ingress": {"rules": [rule("web", None), rule("admin", Some("admin"))]}},
            "components": [],
        },
    }))
    .unwrap()
}

fn of(workspace: &Workspace, host: &str, kind: RecordType, second: i64) -> DNSRecord {
    let zone = &workspace.spec.networking.as_ref().unwrap().dns.zone;
    let spec =
        json!({"zone": zone, "name": host.strip_suffix(&format!(".{zone}")), "recordType": kind});
    let mut made = DNSRecord::new(
        &record(host, kind.as_str()),
        serde_json::from_value(spec).unwrap(),
    );
    made.metadata = serde_json::from_value(json!({
        "uid": format!("{second}"), "creationTimestamp": Timestamp::from_second(second).unwrap(),
        "labels": {
            labels::WORKSPACE_UID: workspace.metadata.uid, labels::WORKSPACE_NAMESPACE: workspace.metadata.namespace,
        },
    }))
    .unwrap();
    made
}

fn code(lock: Lock) -> Option<u16> {
    match lock {
        Lock::Refused(refusal) => Some(refusal.code.number()),
        Lock::Held | Lock::Free => None,
    }
}

#[test]
fn a_host_is_held_by_who_has_its_record_and_free_before() {
    let ours = workspace("team-b", "b", json!({"zone": "preview.test"}));
    let hosts = ours.hosts("c1");
    assert_eq!(hosts.len(), 2);
    for host in hosts {
        assert_eq!(zones().lock(&ours, &host, []), Lock::Free);
        for kind in RecordType::ADDRESSES {
            assert_eq!(
                zones().lock(&ours, &host, [&of(&ours, &host, kind, 5)]),
                Lock::Held
            );
        }
    }
}

#[test]
fn of_two_workspaces_the_older_record_of_any_type_wins() {
    let ours = workspace(
        "team-a",
        "b",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let theirs = workspace(
        "team-a",
        "a",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let host = "login.bank.example";
    let (a, b) = (
        of(&theirs, host, RecordType::A, 5),
        of(&ours, host, RecordType::Cname, 6),
    );
    assert_eq!(code(zones().lock(&ours, host, [&a, &b])), Some(3020));
    assert_eq!(zones().lock(&theirs, host, [&a, &b]), Lock::Held);
    assert_eq!(code(zones().lock(&ours, host, [&a])), Some(3020));
}

#[test]
fn a_record_that_is_being_deleted_holds_nothing_and_still_keeps_others_away() {
    let ours = workspace(
        "team-a",
        "a",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let other = workspace(
        "team-a",
        "b",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let host = "login.bank.example";
    let mut record = of(&ours, host, RecordType::A, 5);
    record.metadata.deletion_timestamp = record.metadata.creation_timestamp.clone();
    assert_eq!(zones().lock(&ours, host, [&record]), Lock::Free);
    assert_eq!(code(zones().lock(&other, host, [&record])), Some(3020));
}

#[test]
fn a_record_of_the_same_uid_in_another_namespace_is_somebody_elses() {
    let ours = workspace(
        "team-a",
        "a",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let namesake = workspace(
        "team-b",
        "a",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let host = "login.bank.example";

    assert_eq!(
        code(zones().lock(&namesake, host, [&of(&ours, host, RecordType::A, 5)])),
        Some(3020)
    );
}

#[test]
fn a_zone_or_name_that_is_not_granted_is_refused_although_its_record_is_there() {
    let bank = workspace(
        "team-b",
        "b",
        json!({"zone": "bank.example", "name": "login"}),
    );
    let named = workspace(
        "team-b",
        "b",
        json!({"zone": "preview.test", "name": "login"}),
    );

    for (workspace, host) in [
        (&bank, "login.bank.example"),
        (&named, "login.preview.test"),
    ] {
        assert_eq!(
            zones().grant(workspace).unwrap_err().code,
            Code::ZoneNotGranted
        );
        assert_eq!(
            code(zones().lock(workspace, host, [&of(workspace, host, RecordType::A, 5)])),
            Some(6051)
        );
    }

    let granted = workspace(
        "team-a",
        "a",
        json!({"zone": "bank.example", "name": "login"}),
    );
    assert_eq!(zones().grant(&granted).unwrap().unwrap().name, "bank");
}

#[test]
fn a_host_that_only_a_subdomain_makes_too_long_is_refused() {
    let label = "a".repeat(59);
    let zone = format!("{label}.{label}.{label}.preview.test");
    let mut long = workspace("team-a", "a", json!({"zone": zone}));
    let mut providers = zones();
    providers.providers[1].zones = vec![zone.clone()];
    assert!(providers.grant(&long).is_ok());
    long.metadata.name = Some("b".repeat(40));
    let error = providers.grant(&long).unwrap_err();
    assert_eq!(error.code, Code::HostTooLong, "{error}");
}

#[test]
fn a_record_keeps_its_provider_as_long_as_that_is_granted_and_no_other_is_named() {
    let zones = Zones {
        cluster_id: "c1".into(),
        providers: parse(
            "
- {name: new, zones: [preview.test], wildcard: {}}
- {name: old, zones: [preview.test], wildcard: {}}
- {name: bank, zones: [preview.test], namespaces: [team-b], wildcard: {}}
",
        )
        .unwrap(),
    };
    let kept = |dns: Value, has: Option<&str>| {
        let ours = workspace("team-a", "b", dns);
        let host = ours.host("c1").unwrap();
        let mut standing = of(&ours, &host, RecordType::A, 5);
        standing.spec.provider = has.map(Into::into);
        let granted = zones.grant(&ours).unwrap().unwrap();
        let standing = has.map(|_| &standing);
        zones.kept(&ours, granted, standing).name.clone()
    };

    let any = json!({"zone": "preview.test"});
    assert_eq!(kept(any.clone(), None), "new");
    assert_eq!(kept(any.clone(), Some("old")), "old");
    for lost in ["bank", "renamed"] {
        assert_eq!(kept(any.clone(), Some(lost)), "new", "{lost}");
    }
    let named = json!({"zone": "preview.test", "provider": "new"});
    assert_eq!(kept(named, Some("old")), "new");
}
