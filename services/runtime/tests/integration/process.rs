//! The life of a process: its admin port, its tasks, its end. Signals and logs are of the whole
//! process, so these tests need nextest, which gives each its own.

use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use lab::part::{Part, Ready};
use lab::testing::layout;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::Runtime;
use sequencer_runtime::bus::{Bus, Outcome};
use sequencer_runtime::telemetry::{root_span, workspace_context};
use serde_json::json;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::harness::{
    self, LONG, Nats, Seen, args, background, command, deployers, stored, until, until_within,
};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_makes_unready_then_drains_and_ends_well() -> Result<()> {
    let nats = Nats::start()?;
    let admin = format!("{}:8080", nats.alone.address);
    let args = args(["--nats-url", &nats.url(), "--admin", &admin]);
    let mut rt = Runtime::start("deployer", &args).await?;
    let get = async |page: &str| -> Result<(u16, String)> {
        let answer = reqwest::get(format!("http://{admin}{page}")).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    let crds = rt.handles().readiness.part("CRDs");
    assert_eq!(get("/livez").await?.0, 200);
    assert_eq!(get("/readyz").await?, (503, "missing: CRDs".into()));
    crds.set(true);

    let bus = Bus::connect("deployer", &args, &rt.handles()).await?;
    bus.ensure(&deployers(LONG)).await?;
    let (client, seen, go) = (
        nats.client().await?,
        Seen::default(),
        std::sync::Arc::new(tokio::sync::Semaphore::new(0)),
    );
    let (handling, handled, wait) = (bus.clone(), seen.clone(), go.clone());
    rt.spawn("handle", async move {
        let handler = move |_| {
            handled.add("begins");
            let wait = wait.clone();
            async move {
                drop(wait.acquire().await);
                Outcome::Done
            }
        };
        handling
            .run(&sequencer_proto::topics::Consumer::deployer(), 1, handler)
            .await;
    });
    until("it is ready", async || {
        Ok(get("/readyz").await? == (200, "ok".into()))
    })
    .await?;
    bus.publish(&command(1), "ns", "name", Trigger::Change)
        .await?;
    until("it works", async || Ok(seen.all().len() == 1)).await?;
    assert!(get("/metrics").await?.1.contains("sequencer_in_flight 1"));

    let closing = bus.clone();
    let ended = background(async move { rt.run(&closing).await });
    let pid = std::process::id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()?
            .success()
    );
    until("it is unready", async || {
        Ok(get("/readyz").await? == (503, "missing: shutting down".into()))
    })
    .await?;
    assert_eq!(get("/livez").await?.0, 200);
    assert!(!ended.is_finished());
    go.add_permits(1);
    ended.await?.context("it ended early")?;
    assert_eq!(stored(&client).await?, 0);
    assert!(get("/livez").await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ends_early_ends_the_process_and_is_named() -> Result<()> {
    let nats = Nats::start()?;
    let admin = format!("{}:8080", nats.alone.address);
    let args = args(["--nats-url", &nats.url(), "--admin", &admin]);
    let mut rt = Runtime::start("deployer", &args).await?;
    let bus = Bus::connect("deployer", &args, &rt.handles()).await?;
    let shutdown = rt.handles().shutdown;
    rt.spawn("good", async move { shutdown.stopping().await });
    rt.spawn("bad", async { Err::<(), _>("on purpose") });
    let ended = rt.run(&bus).await.unwrap_err();
    assert_eq!(ended.task, "bad");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_it_waits_unready_and_can_still_be_stopped() -> Result<()> {
    let mut nats = Nats::start()?;
    nats.kill()?;
    let handles = sequencer_runtime::Handles::default();
    let (args, theirs) = (args(["--nats-url", &nats.url()]), handles.clone());
    let connecting =
        background(async move { Bus::connect("deployer", &args, &theirs).await.map(drop) });
    until("it says so", async || {
        Ok(handles.readiness.missing() == ["NATS"])
    })
    .await?;
    handles.shutdown.stop();
    assert!(connecting.await?.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_reach_the_collector_before_the_process_ends() -> Result<()> {
    let mut nats = Nats::start()?;
    let (address, file) = (nats.alone.address, nats.alone.folder().join("traces.jsonl"));
    let layout = layout()?;
    let config = nats.alone.folder().join("etc/otelcol.yaml");
    std::fs::write(
        &config,
        layout.render("otelcol.yaml", json!({"address": address, "file": file}))?,
    )?;
    let args = ["--config".to_owned(), format!("file:{}", config.display())];
    nats.alone.start(&Part::new(
        "traces",
        layout.bin("otelcol"),
        args,
        Ready::Tcp((address, 4317).into()),
    ))?;

    let (admin, endpoint) = (format!("{address}:8080"), format!("http://{address}:4317"));
    let args = harness::args([
        "--nats-url",
        &nats.url(),
        "--admin",
        &admin,
        "--otlp-endpoint",
        &endpoint,
    ]);
    let mut rt = Runtime::start("deployer", &args).await?;
    let bus = Bus::connect("deployer", &args, &rt.handles()).await?;
    let workspace = command(1).workspace();
    rt.spawn("ends", async move {
        let span = tracing::info_span!("child");
        drop(span.set_parent(workspace_context(workspace)));
        drop(span);
        root_span("Workspace", workspace, SystemTime::now(), Vec::new());
    });
    assert!(rt.run(&bus).await.is_err());
    // By itself it would send them after five.
    until_within(
        "the traces are written",
        Duration::from_secs(2),
        async || {
            let traces = std::fs::read_to_string(&file).unwrap_or_default();
            let id = workspace.simple().to_string();
            Ok(["child", "Workspace", "deployer", &id]
                .iter()
                .all(|word| traces.contains(&format!("\"{word}\""))))
        },
    )
    .await
}
