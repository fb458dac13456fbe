//! Cloudflare's stand-in as a process.
mod args;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| "info".into());

    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();

    let settings = args::Args::parse().settings()?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let running = fake_cloudflare::serve(settings).await?;

    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("wait for SIGINT")?,
    }
    running.stop().await;
    Ok(())
}
