//! The probe, through the stand-in's DNS and edge to a server of the test's own.

use sequencer_api::code::Code;
use sequencer_proto::v1::Trigger;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use reqwest::Method;
use sequencer_api::Workspace;
use sequencer_api::names::Owner;
use sequencer_api::status::State;
use sequencer_api::status::workspace::RouteSection;
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Outcome;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{Harness, Host, ZONE, delivery, until};
use crate::preview::{TEAM, connector, object};

/// An application that answers every request with one status.
struct Application {
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Application {
    /// On the port that the edge fetches from; an address of this machine that the edge does not
    /// have.
    async fn start(address: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, 80)).await?;
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (answers, counts) = (Arc::clone(&status), Arc::clone(&asked));

        background(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                if stream
                    .read(&mut request)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    counts.fetch_add(1, Ordering::SeqCst);
                    let status = answers.load(Ordering::SeqCst);
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nserver: app\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
                    );
                    drop(stream.write_all(answer.as_bytes()).await);
                }
            }
        });
        Ok(Self { status, asked })
    }
}

#[expect(clippy::disallowed_methods, reason = "a test ends with its tasks")]
pub(crate) fn background(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

async fn workspace(harness: &Harness) -> Result<(Workspace, String)> {
    routed(harness, "path", "/app").await
}

/// A Workspace whose route has this field.
async fn routed(harness: &Harness, field: &str, value: &str) -> Result<(Workspace, String)> {
    let mut object = object(
        &json!({"name": Host::new(ZONE).label}),
        &harness.settings.account,
    );
    object["spec"]["networking"]["tunnel"]["cloudflare"]["route"][field] = value.into();
    let workspace: Workspace = harness.make(TEAM, object).await?;
    harness.hold(&workspace).await?;
    let label = Owner::of(&workspace).host_label("c1", TEAM);
    Ok((workspace, format!("{label}.{ZONE}")))
}

async fn point(harness: &Harness, host: &str, address: &str) -> Result<()> {
    let body = json!({"type": "A", "name": host, "content": address, "proxied": true});
    harness
        .call(
            Method::POST,
            &format!("/zones/{}/dns_records", harness.cloud.zone_id()),
            &body,
        )
        .await
        .map(drop)
}

/// Makes a tunnel that the host points to, and returns where the API has it.
async fn tunnelled(harness: &Harness, host: &str) -> Result<String> {
    let tunnels = format!("/accounts/{}/cfd_tunnel", harness.settings.account);
    let body = json!({"name": host, "config_src": "cloudflare"});
    let tunnel = harness.call(Method::POST, &tunnels, &body).await?;
    let id = tunnel["id"].as_str().context("no id")?;
    let target = format!("{id}.cfargotunnel.com");
    let body = json!({"type": "CNAME", "name": host, "content": target, "proxied": true});
    let records = format!("/zones/{}/dns_records", harness.cloud.zone_id());

    harness.call(Method::POST, &records, &body).await?;
    Ok(format!("{tunnels}/{id}"))
}

async fn recorded(harness: &Harness, workspace: &Workspace) -> Result<RouteSection> {
    let found = harness
        .api::<Workspace>(TEAM)
        .get(&workspace.name_any())
        .await?;
    Ok(found.status.context("no status")?.route)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_healthy_when_the_application_answers_by_the_public_way() -> Result<()> {
    let harness = Harness::new().await?;
    let (workspace, host) = workspace(&harness).await?;
    // An address beside the edge's own.
    let std::net::IpAddr::V4(edge) = harness.address() else {
        anyhow::bail!("no IPv4 address")
    };

    let [a, b, c, d] = edge.octets();
    let own = format!("{a}.{b}.{c}.{}", d ^ 0x80);
    let application = Application::start(&own).await?;
    // URLs that need no certificate.
    let service = harness.replica(&["--tunnel-url-scheme=http"])?;
    let probe = async |trigger: Trigger| {
        service
            .handle(delivery(Verb::Probe, TEAM, &workspace, trigger))
            .await
    };

    // No name yet.
    assert_eq!(probe(Trigger::Change).await, Outcome::Recorded);
    let missing = recorded(&harness, &workspace).await?;
    assert_eq!(
        (missing.section.state, missing.section.retry.unwrap().code),
        (Some(State::InProgress), Code::UrlNotAnswering)
    );
    assert_eq!(
        (missing.rules.len(), missing.rules[0].http_status),
        (1, None)
    );
    assert_eq!(application.asked.load(Ordering::SeqCst), 0);

    // The application has trouble of its own.
    point(&harness, &host, &own).await?;
    application.status.store(500, Ordering::SeqCst);
    assert_eq!(probe(Trigger::Retry).await, Outcome::Recorded);
    let trouble = recorded(&harness, &workspace).await?;
    assert_eq!(
        (
            trouble.rules[0].http_status,
            trouble.rules[0].failure.clone().unwrap().code
        ),
        (Some(500), Code::UrlNotAnswering)
    );

    // What it answers below 500 is an answer; and what failed is looked at again by the timer
    // alone.
    application.status.store(404, Ordering::SeqCst);
    until("it is looked at again", async || {
        ensure!(probe(Trigger::Change).await == Outcome::Done, "not yet");
        ensure!(
            recorded(&harness, &workspace)
                .await?
                .section
                .retry
                .is_none(),
            "not yet"
        );
        Ok(())
    })
    .await?;

    let healthy = recorded(&harness, &workspace).await?;
    assert_eq!(
        (healthy.section.state, healthy.section.retry),
        (Some(State::Healthy), None)
    );

    let rule = &healthy.rules[0];
    assert_eq!(
        (rule.http_status, rule.failure.clone(), rule.url.clone()),
        (Some(404), None, format!("http://{host}/app"))
    );

    // It is looked at again, and nothing is written.
    let asked = application.asked.load(Ordering::SeqCst);
    assert_eq!(probe(Trigger::Resync).await, Outcome::Done);
    assert!(application.asked.load(Ordering::SeqCst) > asked);
    assert_eq!(
        recorded(&harness, &workspace).await?.section.rev,
        healthy.section.rev
    );

    // What serves since is not what answered.
    let commit = "9c1b0de41f77";
    let served = Patch::Merge(json!({"status": {"commit": commit}}));
    let api = harness.api::<Workspace>(TEAM);
    api.patch_status(&workspace.name_any(), &PatchParams::default(), &served)
        .await?;
    assert_eq!(probe(Trigger::Change).await, Outcome::Done);
    let answered = recorded(&harness, &workspace).await?;
    assert_eq!(answered.commit.as_deref(), Some(commit));

    // What has answered and does not any more is told.
    application.status.store(500, Ordering::SeqCst);
    assert_eq!(probe(Trigger::Resync).await, Outcome::Recorded);
    let trouble = recorded(&harness, &workspace).await?;
    assert_eq!(trouble.commit.as_deref(), Some(commit));
    let trouble = trouble.section;
    assert_eq!(
        (trouble.state, trouble.retry.unwrap().code),
        (Some(State::InProgress), Code::UrlNotAnswering)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_without_a_connector_is_no_answer_over_https() -> Result<()> {
    let harness = Harness::new().await?;
    let (workspace, host) = workspace(&harness).await?;
    tunnelled(&harness, &host).await?;

    assert_eq!(
        harness
            .service
            .handle(delivery(Verb::Probe, TEAM, &workspace, Trigger::Change))
            .await,
        Outcome::Recorded
    );

    let section = recorded(&harness, &workspace).await?;
    assert_eq!(
        (section.rules[0].http_status, section.rules[0].url.clone()),
        (Some(530), format!("https://{host}/app"))
    );
    assert_eq!(section.section.retry.unwrap().code, Code::UrlNotAnswering);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_no_http_answers_when_it_takes_a_connection() -> Result<()> {
    let harness = Harness::new().await?;
    let (workspace, host) = routed(&harness, "protocol", "ssh").await?;
    let tunnel = tunnelled(&harness, &host).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let free = listener.local_addr()?;
    drop(listener);

    let rules = json!([
        {"hostname": host, "service": format!("ssh://{free}")}, {"service": "http_status:404"},
    ]);
    let configuration = json!({"config": {"ingress": rules}});
    let at = |part: &str| format!("{tunnel}/{part}");
    harness
        .call(Method::PUT, &at("configurations"), &configuration)
        .await?;
    let token = harness
        .call(Method::GET, &at("token"), &json!(null))
        .await?;
    let connector = connector(&harness, token.as_str().context("no token")?).await?;

    let service = harness.replica(&["--tunnel-url-scheme=http"])?;
    let probe = async || {
        let asked = delivery(Verb::Probe, TEAM, &workspace, Trigger::Retry);
        service.handle(asked).await
    };
    // The connector is there, and nobody listens.
    until("the edge has the connector", async || {
        ensure!(probe().await == Outcome::Recorded, "not asked");
        let rule = recorded(&harness, &workspace).await?.rules;
        ensure!(rule[0].http_status == Some(502), "{rule:?}");
        Ok(())
    })
    .await?;

    let _listener = TcpListener::bind(free).await?;
    until("it takes a connection", async || {
        ensure!(probe().await == Outcome::Done, "not yet");
        Ok(())
    })
    .await?;
    let healthy = recorded(&harness, &workspace).await?;
    assert_eq!(healthy.section.state, Some(State::Healthy));
    assert_eq!(healthy.rules[0].url, format!("ssh://{host}"));
    connector.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_e6037_and_a_workspace_without_a_host_is_not_asked() -> Result<()> {
    let harness = Harness::new().await?;
    let (workspace, host) = workspace(&harness).await?;
    let body = json!({"type": "A", "name": host, "content": "10.0.0.1", "proxied": false});

    harness
        .call(
            Method::POST,
            &format!("/zones/{}/dns_records", harness.cloud.zone_id()),
            &body,
        )
        .await?;

    assert_eq!(
        harness
            .service
            .handle(delivery(Verb::Probe, TEAM, &workspace, Trigger::Change))
            .await,
        Outcome::Recorded
    );
    assert_eq!(
        recorded(&harness, &workspace).await?.rules[0]
            .failure
            .clone()
            .unwrap()
            .code,
        Code::AddressForbidden
    );

    let plain = harness.workspace(TEAM, "plain").await?;
    assert_eq!(
        harness
            .service
            .handle(delivery(Verb::Probe, TEAM, &plain, Trigger::Change))
            .await,
        Outcome::Stale
    );
    assert_eq!(recorded(&harness, &plain).await?.section.rev, 0);
    Ok(())
}
