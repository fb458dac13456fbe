//! What belongs to what, and who is reconciled for it.

use kube::runtime::watcher::Event;
use sequencer_api::stored::Stored as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::triggers::{Receivers, Triggers};

const COMPONENT: &str = "w-web-aaaaaa";

fn id(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02}")
}

fn owner(kind: &str, name: &str, uid: u8) -> Value {
    let version = "se.quencer.io/v1alpha1";
    json!([{"apiVersion": version, "kind": kind, "name": name, "uid": id(uid), "controller": true}])
}

/// What the watcher writes on everything of the Workspace `w` of team-a.
fn marks() -> Value {
    json!({labels::WORKSPACE: "w", labels::WORKSPACE_NAMESPACE: "team-a", labels::WORKSPACE_UID: id(1)})
}

/// An object of `namespace/name` with labels and owners.
fn object<K: DeserializeOwned>(
    at: &str,
    uid: u8,
    labels: &Value,
    owners: &Value,
    spec: &Value,
) -> K {
    let (namespace, name) = at.split_once('/').unwrap();
    let metadata = json!({
        "namespace": namespace, "name": name, "uid": id(uid), "labels": labels, "ownerReferences": owners,
    });
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn workspace(at: &str, uid: u8) -> Workspace {
    object(at, uid, &json!({}), &json!([]), &json!({"components": []}))
}

fn component(at: &str, uid: u8, labels: &Value, owners: &Value) -> Component {
    object(
        at,
        uid,
        labels,
        owners,
        &json!({"name": "web", "template": {"containers": []}}),
    )
}

fn build(at: &str, uid: u8, labels: &Value, owners: &Value) -> Build {
    object(
        at,
        uid,
        labels,
        owners,
        &json!({"name": "app", "containerRegistries": [], "importContent": []}),
    )
}

fn fill<K: Resource<DynamicType = ()> + Clone>(
    index: &Index<K>,
    writer: &mut Writer<K>,
    objects: &[K],
) {
    for object in objects {
        let event = Event::Apply(object.clone());
        writer.apply_watcher_event(&event);
        index.update(&event);
    }
}

/// The Workspace `w` of team-a with its Component, and these.
fn known(components: &[Component], builds: &[Build]) -> Cache {
    let (cache, mut writers) = Cache::new("release", "c");
    let (own, owner) = (format!("team-a/{COMPONENT}"), owner("Workspace", "w", 1));
    let own = component(&own, 2, &marks(), &owner);
    let workspace = workspace("team-a/w", 1);
    fill(&cache.workspaces, &mut writers.workspaces, &[workspace]);
    fill(&cache.components, &mut writers.components, &[own]);
    fill(&cache.components, &mut writers.components, components);
    fill(&cache.builds, &mut writers.builds, builds);
    cache
}

/// Whether a Workspace is reconciled when this Component changed.
fn reaches_a_workspace(cache: &Cache, component: &Component) -> bool {
    let (triggers, Receivers { mut workspaces, .. }) = Triggers::new();
    triggers.component(cache, component);
    workspaces.try_recv().is_ok()
}

fn names<K: Resource>(objects: &[Arc<K>]) -> Vec<String> {
    let name = |object: &Arc<K>| format!("{}/{}", object.namespace_str(), object.name_any());
    objects.iter().map(name).collect()
}

#[test]
fn a_record_that_changes_concerns_all_that_ask_for_its_host_in_any_namespace() {
    let asking = |at: &str, uid, name: &str| -> Workspace {
        let rule = json!({"name": "main", "component": "web", "network": "http"});
        let dns = json!({"zone": "x.test", "name": name});
        let networking = json!({"dns": dns, "ingress": {"rules": [rule]}});
        let spec = json!({"components": [], "networking": networking});
        object(at, uid, &json!({}), &json!([]), &spec)
    };
    let (cache, mut writers) = Cache::new("release", "c");
    let workspaces = [
        asking("team-a/holds", 1, "login"),
        asking("team-b/waits", 2, "login"),
        asking("team-b/else", 3, "other"),
    ];
    fill(&cache.workspaces, &mut writers.workspaces, &workspaces);
    let spec = json!({"zone": "x.test", "name": "login", "recordType": "A"});
    let record: DNSRecord = object("release/r", 4, &json!({}), &json!([]), &spec);

    let (triggers, mut receivers) = Triggers::new();
    triggers.record(&cache, &record);
    let mut reached = Vec::new();
    while let Ok(found) = receivers.workspaces.try_recv() {
        reached.push(found.name);
    }
    reached.sort();
    assert_eq!(reached, ["holds", "waits"]);
}

#[test]
fn labels_of_another_tenants_workspace_make_no_component_its_own() {
    let stranger = component(&format!("team-b/{COMPONENT}"), 3, &marks(), &json!([]));
    let cache = known(std::slice::from_ref(&stranger), &[]);
    let owned = cache.owned_by(&workspace("team-a/w", 1));
    assert_eq!(names(&owned.components), [format!("team-a/{COMPONENT}")]);

    let owned = cache.owned_with(&stranger).unwrap();
    assert!(owned.workspace.is_none());
    assert_eq!(names(&owned.components), [format!("team-b/{COMPONENT}")]);
    assert_eq!(
        (
            owned.owner_uid(&stranger).to_string(),
            owned.owner(&stranger).name
        ),
        (id(3), COMPONENT)
    );
    assert!(!reaches_a_workspace(&cache, &stranger));
}

#[test]
fn a_controller_of_another_namespace_or_of_another_uid_is_nobodys() {
    for (at, uid) in [
        (format!("team-b/{COMPONENT}"), 1),
        ("team-a/other".into(), 9),
    ] {
        let stranger = component(&at, 3, &marks(), &owner("Workspace", "w", uid));
        let cache = known(std::slice::from_ref(&stranger), &[]);
        let owned = cache.owned_by(&workspace("team-a/w", 1));
        assert_eq!(
            names(&owned.components),
            [format!("team-a/{COMPONENT}")],
            "{at}"
        );
        assert!(cache.owned_with(&stranger).is_none(), "{at}");
        assert!(!reaches_a_workspace(&cache, &stranger), "{at}");
    }
}

#[test]
fn a_component_that_its_workspace_controls_is_its_own_whatever_its_labels_say() {
    let bare = component(
        "team-a/bare",
        3,
        &json!({labels::WORKSPACE_UID: id(9)}),
        &owner("Workspace", "w", 1),
    );
    let cache = known(std::slice::from_ref(&bare), &[]);
    let owned = cache.owned_with(&bare).unwrap();

    assert_eq!(
        names(&owned.components),
        ["team-a/bare".to_owned(), format!("team-a/{COMPONENT}")]
    );
    assert_eq!(
        (owned.owner_uid(&bare).to_string(), owned.owner(&bare).name),
        (id(1), "w")
    );
    assert!(reaches_a_workspace(&cache, &bare));
}

#[test]
fn a_build_is_of_the_component_that_controls_it_in_its_namespace() {
    let of = |at: &str, uid, owners: &Value| build(at, uid, &marks(), owners);
    let made = owner("Component", COMPONENT, 2);
    let builds = [
        of("team-a/made", 4, &made),
        of("team-a/labelled", 5, &json!([])),
        of("team-b/labelled", 6, &json!([])),
        of("team-b/controlled", 7, &made),
        of("team-b/own", 8, &owner("Component", "own", 3)),
    ];
    let own = component("team-b/own", 3, &marks(), &json!([]));
    let cache = known(std::slice::from_ref(&own), &builds);

    assert_eq!(
        names(&cache.owned_by(&workspace("team-a/w", 1)).builds),
        ["team-a/made"]
    );

    let free = cache.owned_with(&own).unwrap();
    assert_eq!(names(&free.builds), ["team-b/labelled", "team-b/own"]);
    let roots = builds.map(|build| cache.owner_of_build(&build).to_string());
    assert_eq!(roots, [id(1), id(5), id(6), id(7), id(3)]);
}

#[test]
fn a_record_is_of_the_workspace_that_its_labels_name_as_a_whole() {
    let cache = known(&[], &[]);
    let record = |key: &str, value: &str| -> DNSRecord {
        let mut labels = marks();
        labels[key] = value.into();
        object(
            "release/w.x.cname",
            9,
            &labels,
            &json!([]),
            &json!({"zone": "x", "name": "w", "recordType": "CNAME", "target": "y"}),
        )
    };

    let ours = record(labels::WORKSPACE, "w");
    assert_eq!(
        cache
            .workspace_of_record(&ours)
            .and_then(|found| found.uid()),
        Some(id(1))
    );
    assert!(belongs(&ours, &workspace("team-a/w", 1)));
    for (key, value) in [
        (labels::WORKSPACE, "v"),
        (labels::WORKSPACE_NAMESPACE, "team-b"),
        (labels::WORKSPACE_UID, &id(2)),
    ] {
        let other = record(key, value);
        assert!(cache.workspace_of_record(&other).is_none(), "{key}");
        // What it is called says nothing beside its uid.
        let ours = key == labels::WORKSPACE;
        assert_eq!(belongs(&other, &workspace("team-a/w", 1)), ours, "{key}");
    }
}

#[test]
fn the_tunnel_of_a_workspace_that_is_given_up_has_as_much_time_as_its_records_had() {
    let mut given_up = workspace("team-a/w", 1);
    given_up.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    given_up
        .annotations_mut()
        .insert(labels::ABANDON_EXTERNAL.into(), id(1));
    let spec = json!({"zone": "x", "name": "w", "recordType": "CNAME"});
    let record: DNSRecord = object("release/w.x.cname", 9, &marks(), &json!([]), &spec);

    let (cache, mut writers) = Cache::new("release", "c");
    fill(
        &cache.records,
        &mut writers.records,
        std::slice::from_ref(&record),
    );
    let since = || cache.owned_by(&given_up).abandoned_since;
    let first = since();
    assert!(first.is_some());
    assert_eq!(since(), first);

    let gone = Event::Delete(record);
    writers.records.apply_watcher_event(&gone);
    cache.records.update(&gone);
    let second = since();
    assert_ne!(second, first);
    assert_eq!(since(), second);

    given_up.metadata.annotations = None;
    assert_eq!(cache.owned_by(&given_up).abandoned_since, None);
}
