//! Status sections on a real API server.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Config, ResourceExt as _};
use lab::alone::Alone;
use lab::testing::layout;
use sequencer_runtime::cluster;
use sequencer_runtime::section::{RecordError, StatusPatch};
use serde_json::{Value, json};

use crate::harness::until;

/// An API server of its own with a kind of two sections.
struct Harness {
    api: Api<DynamicObject>,
    resource: ApiResource,
    alone: Alone,
}

impl Harness {
    async fn new() -> Result<Self> {
        let mut alone = Alone::new(&layout()?)?;
        let kubeconfig = Kubeconfig::read_from(alone.control_plane()?)?;
        drop(rustls::crypto::ring::default_provider().install_default());
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = cluster::client(config, "tester")?;
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        crds.create(&PostParams::default(), &serde_json::from_value(crd())?)
            .await?;
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("test.sequencer", "v1", "Thing"));
        let harness = Self {
            api: Api::namespaced_with(client, "default", &resource),
            resource,
            alone,
        };
        until("the kind is served", async || {
            Ok(harness.api.list(&ListParams::default()).await.is_ok())
        })
        .await?;
        Ok(harness)
    }

    /// Makes an object and returns its uid.
    async fn make(&self, name: &str) -> Result<String> {
        let made = self
            .api
            .create(
                &PostParams::default(),
                &DynamicObject::new(name, &self.resource),
            )
            .await?;
        Ok(made.uid().unwrap_or_default())
    }

    async fn status(&self, name: &str) -> Result<Value> {
        Ok(self.api.get(name).await?.data["status"].clone())
    }
}

fn crd() -> Value {
    let section = json!({
        "type": "object", "default": {},
        "properties": {
            "rev": {"type": "integer", "default": 0},
            "state": {"type": "string", "maxLength": 20},
        },
    });
    let status = json!({
        "type": "object", "default": {},
        "properties": {
            "rev": {"type": "integer", "default": 0}, "phase": {"type": "string"}, "one": section, "two": section,
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.sequencer"},
        "spec": {
            "group": "test.sequencer", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"status": status}}},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_are_written_only_over_what_was_read() -> Result<()> {
    let harness = Harness::new().await?;
    let write = |uid: &str, section: &str, rev: i64, state: &str| {
        StatusPatch::new(uid).section(section, rev, &json!({"state": state}))
    };
    let uid = harness.make("thing").await?;

    // Two writers of one section: one wins.
    let (a, b) = (write(&uid, "one", 0, "a")?, write(&uid, "one", 0, "b")?);
    let (a, b): (Result<DynamicObject, _>, Result<DynamicObject, _>) = tokio::join!(
        a.apply(&harness.api, "thing"),
        b.apply(&harness.api, "thing")
    );
    assert_eq!(
        i32::from(a.is_ok()) + i32::from(b.is_ok()),
        1,
        "{a:?} {b:?}"
    );
    let lost = [a, b].into_iter().find_map(Result::err);
    assert!(matches!(lost, Some(RecordError::Conflict)), "{lost:?}");
    assert_eq!(harness.status("thing").await?["one"]["rev"], 1);

    let managers = harness
        .api
        .get("thing")
        .await?
        .metadata
        .managed_fields
        .unwrap_or_default();
    assert!(
        managers
            .iter()
            .all(|entry| entry.manager.as_deref() == Some("tester")),
        "{managers:?}"
    );

    // Writers of two sections do not meet.
    let (a, b) = (write(&uid, "one", 1, "a")?, write(&uid, "two", 0, "b")?);
    let (a, b): (Result<DynamicObject, _>, Result<DynamicObject, _>) = tokio::join!(
        a.apply(&harness.api, "thing"),
        b.apply(&harness.api, "thing")
    );
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");

    // What the watcher derives stands only on what it read.
    let derive = |one: i64, root: i64| {
        StatusPatch::new(&uid)
            .expect("one", one)
            .root(root)
            .set("phase", &"Healthy")
    };
    let derived: Result<DynamicObject, _> = derive(1, 0)?.apply(&harness.api, "thing").await;
    assert!(matches!(derived, Err(RecordError::Conflict)), "{derived:?}");
    let _: DynamicObject = derive(2, 0)?.apply(&harness.api, "thing").await?;
    let derived: Result<DynamicObject, _> = derive(2, 0)?.apply(&harness.api, "thing").await;
    assert!(matches!(derived, Err(RecordError::Conflict)), "{derived:?}");
    let status = harness.status("thing").await?;
    assert_eq!(
        (&status["phase"], &status["rev"], &status["two"]["state"]),
        (&json!("Healthy"), &json!(1), &json!("b"))
    );

    // What the schema refuses is no conflict: reading again would not help.
    let invalid: Result<DynamicObject, _> = write(&uid, "one", 2, &"x".repeat(21))?
        .apply(&harness.api, "thing")
        .await;
    assert!(
        matches!(&invalid, Err(RecordError::Invalid(words)) if words.contains("status.one.state")),
        "{invalid:?}"
    );

    // Another object of the same name is not written.
    harness
        .api
        .delete("thing", &DeleteParams::default())
        .await?;
    let gone: Result<DynamicObject, _> = write(&uid, "one", 2, "a")?
        .apply(&harness.api, "thing")
        .await;
    assert!(matches!(gone, Err(RecordError::Gone)), "{gone:?}");
    harness.make("thing").await?;
    let successor: Result<DynamicObject, _> = write(&uid, "one", 0, "a")?
        .apply(&harness.api, "thing")
        .await;
    assert!(
        matches!(successor, Err(RecordError::Conflict)),
        "{successor:?}"
    );
    assert_eq!(harness.status("thing").await?["one"], json!({"rev": 0}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_costs_ten_seconds_and_a_quiet_watch_goes_on() -> Result<()> {
    let harness = Harness::new().await?;
    let list = harness.api.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    let mut watch = std::pin::pin!(harness.api.watch(&WatchParams::default(), &version).await?);

    let silent = tokio::net::TcpListener::bind((harness.alone.address, 9)).await?;
    let config = Config::new(format!("http://{}", silent.local_addr()?).parse()?);
    let things: Api<DynamicObject> = Api::namespaced_with(
        cluster::client(config, "tester")?,
        "default",
        &harness.resource,
    );
    let begun = Instant::now();
    assert!(things.get("thing").await.is_err());
    let took = begun.elapsed().as_secs();
    assert!((9..13).contains(&took), "{took} s");

    harness.make("thing").await?;
    let event = tokio::time::timeout(Duration::from_secs(5), watch.next()).await?;
    assert!(matches!(event, Some(Ok(WatchEvent::Added(_)))), "{event:?}");
    Ok(())
}
