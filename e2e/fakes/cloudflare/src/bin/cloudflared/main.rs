//! The connector as a process, with cloudflared's command line.
mod args;
mod log;

use std::process::ExitCode;

use clap::Parser;
use fake_cloudflare::{Connector, ConnectorError, ConnectorSettings};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Command};

/// What cloudflared exits with when its command line is of no use.
const USAGE: u8 = 255;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let tunnel = match Args::parse().command {
        Command::Version => {
            use std::io::Write;
            writeln!(
                std::io::stdout(),
                "cloudflared version {} (stand-in)",
                ConnectorSettings::VERSION
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Tunnel(tunnel) => tunnel,
    };

    log::init(tunnel.loglevel);

    let Some(settings) = tunnel.settings()? else {
        return Ok(usage(
            "\"cloudflared tunnel run\" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file.",
        ));
    };

    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let connector = match Connector::start(settings).await {
        Err(error @ ConnectorError::Token) => return Ok(usage(&error.to_string())),
        started => started?,
    };

    let name = tokio::select! {
        _ = terminate.recv() => "terminated",
        _ = interrupt.recv() => "interrupt",
    };

    tracing::info!("Initiating graceful shutdown due to signal {name} ...");
    connector.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn usage(error: &str) -> ExitCode {
    eprintln!("{error}\nSee 'cloudflared tunnel run --help'.");
    ExitCode::from(USAGE)
}
