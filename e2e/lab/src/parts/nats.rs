//! NATS with JetStream, for tests that need it without a cluster.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;

use crate::layout::text;
use crate::part::{Part, Ready};

/// A server on port 4222 of an address, whose configuration and store are below `folder`; `more` is
/// added to its configuration.
///
/// # Errors
/// The configuration cannot be written.
pub fn part(program: &Path, folder: &Path, address: IpAddr, more: &str) -> Result<Part> {
    let (config, store) = (folder.join("etc/nats.conf"), folder.join("data/nats"));
    // By default it promises no more than a part of the free disk, and refuses streams beyond that.
    let jetstream = format!(
        "jetstream {{ store_dir: {:?}, max_file_store: 64GB }}\n",
        text(store)
    );
    std::fs::write(&config, jetstream + more)?;
    let args = [
        "--config".into(),
        text(config),
        "--addr".into(),
        address.to_string(),
        "--port=4222".into(),
    ];
    Ok(Part::new(
        "nats",
        program,
        args,
        Ready::Tcp((address, 4222).into()),
    ))
}
