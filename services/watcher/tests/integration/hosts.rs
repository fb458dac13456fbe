//! A host is held before anything leads to it, and let go after.

use anyhow::{Context as _, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::status::State;
use sequencer_api::status::workspace::{Address, IngressSection, ServedRule};
use sequencer_api::{DNSRecord, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;
use serde_json::{Value, json};

use crate::harness::{Harness, until};
use crate::life::sample;
use crate::services::{section, well};

/// A component behind an ingress.
fn served(dns: &Value) -> Value {
    let container = json!({"name": "a", "image": "redis:latest"});
    let rule = json!({"name": "main", "component": "a", "network": "http"});

    json!({
        "networking": {"dns": dns, "ingress": {"rules": [rule]}},
        "components": [{
            "name": "a", "networks": [{"name": "http", "port": 80}], "template": {"containers": [container]},
        }],
    })
}

fn condition(workspace: &Workspace, kind: &str) -> Option<(String, String)> {
    let found = workspace
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|found| found.type_ == kind)?;
    Some((
        found.reason.clone(),
        found.message.split(' ').next()?.to_owned(),
    ))
}

/// Plays nothing but the end of an Ingress.
async fn idle(delivery: Delivery, client: Client) -> Result<()> {
    let api: Api<Workspace> = Api::namespaced(client, &delivery.payload.namespace);

    if delivery.command.verb() != Verb::Ingress {
        return Ok(());
    }

    let Some(found) = current(
        &api,
        &delivery.payload.name,
        &delivery.command.uid().to_string(),
    )
    .await?
    else {
        return Ok(());
    };

    if found.metadata.deletion_timestamp.is_some() {
        let before = found.status.clone().unwrap_or_default().ingress;
        let gone = IngressSection {
            section: section(State::Gone, found.metadata.generation),
            ..IngressSection::default()
        };

        let patch = StatusPatch::new(&found.uid().unwrap_or_default()).section(
            "ingress",
            before.section.rev,
            &gone,
        )?;
        let _: Workspace = patch.apply(&api, &found.name_any()).await?;
    }

    Ok(())
}

#[tokio::test]
async fn a_host_is_held_before_its_ingress_is_asked_for_and_published_when_it_is_known_where_to()
-> Result<()> {
    let harness = Harness::new().await?;
    // Nobody plays the deployer: it is not known where the host leads.
    harness.play(idle).await?;
    let workspace = harness
        .workspace("shop", served(&json!({"zone": "preview.test"})))
        .await?;
    let host = workspace.host("test").context("no host")?;
    until("the ingress is asked for", async || {
        Ok(harness.times("ingress", "shop") > 0)
    })
    .await?;
    let record: DNSRecord = harness.find(&host).await?;
    assert_eq!(
        (record.spec.target.as_ref(), record.name_any()),
        (None, format!("{host}.a"))
    );
    assert_eq!(harness.times("dns", &host), 0);
    Ok(())
}

#[tokio::test]
async fn a_host_of_anothers_zone_is_not_held_and_its_code_stands_wherever_people_look() -> Result<()>
{
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness
        .workspace(
            "shop",
            served(&json!({"zone": "bank.example", "name": "login"})),
        )
        .await?;

    let refused = harness.ready("shop", "False", "ZoneNotGranted").await?;

    for kind in ["Ingress", "DNS", "Ready"] {
        assert_eq!(
            condition(&refused, kind),
            Some(("ZoneNotGranted".into(), "E#6051".into())),
            "{kind}"
        );
    }

    let status = refused.status.context("no status")?;
    assert_eq!((status.host, status.url), (None, None));
    assert_eq!(
        (
            harness.count::<DNSRecord>().await?,
            harness.times("ingress", "shop")
        ),
        (0, 0)
    );

    // Its components run all the same.
    until("they are ready", async || {
        let found = harness.all::<Workspace>().get("shop").await?;
        ensure!(
            condition(&found, "Components").is_some_and(|(reason, _)| reason == "Healthy"),
            "not yet"
        );
        Ok(true)
    })
    .await
}

#[tokio::test]
async fn a_host_that_another_workspace_holds_is_refused_until_it_is_let_go() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(idle).await?;
    let named = json!({"zone": "names.test", "name": "login"});
    harness.workspace("first", served(&named)).await?;
    until("the first holds it", async || {
        Ok(harness.find::<DNSRecord>("login.names.test").await.is_ok())
    })
    .await?;
    harness.workspace("second", served(&named)).await?;
    let refused = harness.ready("second", "False", "HostTaken").await?;
    for kind in ["Ingress", "DNS", "Ready"] {
        assert_eq!(
            condition(&refused, kind),
            Some(("HostTaken".into(), "E#3020".into())),
            "{kind}"
        );
    }
    assert_eq!(harness.times("ingress", "second"), 0);

    let first = harness
        .all::<DNSRecord>()
        .get("login.names.test.a")
        .await?
        .labels()
        .clone();
    harness
        .all::<Workspace>()
        .delete("first", &DeleteParams::default())
        .await?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    until("the second holds it", async || {
        // Nobody plays the network service either.
        let found = harness.all::<DNSRecord>().get("login.names.test.a").await?;
        if found.metadata.deletion_timestamp.is_some() {
            harness
                .all::<DNSRecord>()
                .patch(&found.name_any(), &PatchParams::default(), &free)
                .await?;
        }
        Ok(*found.labels() != first)
    })
    .await?;
    until("its ingress is asked for", async || {
        Ok(harness.times("ingress", "second") > 0)
    })
    .await
}

/// Plays an Ingress at the Workspace's own host, and the others.
async fn serve(delivery: Delivery, client: Client) -> Result<()> {
    if delivery.command.verb() != Verb::Ingress {
        return well(delivery, client).await;
    }

    let payload = &delivery.payload;
    let api: Api<Workspace> = Api::namespaced(client, &payload.namespace);
    let uid = delivery.command.uid().to_string();
    let Some(found) = current(&api, &payload.name, &uid).await? else {
        return Ok(());
    };

    let before = found.status.clone().unwrap_or_default().ingress;
    let rule = ServedRule {
        name: "main".into(),
        host: found.host("test").context("no host")?,
        path: "/".into(),
        service: "a".into(),
        port: 80,
    };
    let address = Address {
        ip: Some("203.0.113.7".into()),
        hostname: None,
    };
    let ingress = IngressSection {
        section: section(State::Completed, found.metadata.generation),
        name: Some("a".into()),
        rules: vec![rule],
        addresses: vec![address],
        ..IngressSection::default()
    };
    StatusPatch::new(&uid)
        .section("ingress", before.section.rev, &ingress)?
        .apply(&api, &found.name_any())
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_host_that_goes_from_a_tunnel_to_an_ingress_leaves_the_tunnel_when_the_ingress_answers()
-> Result<()> {
    let harness = Harness::new().await?;
    harness.play(serve).await?;
    let dns = json!({"zone": "preview.test"});
    let mut spec = served(&dns);
    let tunnel = json!({"cloudflare": {
        "accountId": "0".repeat(32), "route": {"component": "a", "network": "http"},
        "secretKeyRef": {"name": "token", "key": "apiKey"},
    }});
    spec["networking"] = json!({"dns": dns, "tunnel": tunnel});
    let workspace = harness.workspace("shop", spec).await?;
    let host = workspace.host("test").context("no host")?;
    harness.ready("shop", "True", "Healthy").await?;
    let records = harness.all::<DNSRecord>();
    assert!(records.get_opt(&format!("{host}.cname")).await?.is_some());

    let mut networking = served(&dns)["networking"].take();
    networking["tunnel"] = Value::Null;
    let patch = Patch::Merge(json!({"spec": {"networking": networking}}));
    let all = harness.all::<Workspace>();
    let told = harness.notified.lock().unwrap().len();
    all.patch("shop", &PatchParams::default(), &patch).await?;

    until("only the other record is there", async || {
        let old = records.get_opt(&format!("{host}.cname")).await?;
        let new = records.get_opt(&format!("{host}.a")).await?;
        Ok(old.is_none() && new.is_some_and(|new| new.spec.target.is_some()))
    })
    .await?;
    until("the tunnel is gone", async || {
        let status = all.get("shop").await?.status.context("no status")?;
        Ok(status.tunnel.intents.is_empty())
    })
    .await?;
    let told = harness.notified.lock().unwrap().split_off(told);
    let first = |verb: &str| told.iter().position(|told| told.starts_with(verb));
    assert!(
        first("probe").is_some() && first("probe") < first("tunnel"),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_record_keeps_its_provider_until_another_is_named_and_is_made_anew_then() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("shop", sample()?).await?;
    harness.ready("shop", "True", "Healthy").await?;
    let record = async || -> Result<(Option<String>, Option<String>)> {
        let found = harness.find::<DNSRecord>("shop-").await?;
        Ok((found.spec.provider.clone(), found.uid()))
    };
    let name = async |provider: &str| {
        let dns = json!({"zone": "preview.test", "provider": provider});
        let patch = Patch::Merge(json!({"spec": {"networking": {"dns": dns}}}));
        let all = harness.all::<Workspace>();
        all.patch("shop", &PatchParams::default(), &patch).await
    };

    // The provider that it has anyway.
    let (first, uid) = record().await?;
    assert_eq!(first.as_deref(), Some("lab"));
    let generation = name("lab").await?.metadata.generation;
    until("the edit is done", async || {
        let found = harness.ready("shop", "True", "Healthy").await?;
        let status = found.status.context("no status")?;
        Ok(Some(status.observed_generation) == generation)
    })
    .await?;
    assert_eq!(record().await?, (first, uid.clone()));

    name("other").await?;
    until("the record is the other provider's", async || {
        let (provider, other) = record().await?;
        Ok(provider.as_deref() == Some("other") && other != uid)
    })
    .await?;
    harness.ready("shop", "True", "Healthy").await?;
    Ok(())
}
