//! NATS with JetStream, for tests that need it without a cluster.

use std::net::IpAddr;
use std::path::Path;

use crate::layout::text;
use crate::part::{Part, Ready};

/// A server on port 4222 of an address, with its store in `data`.
#[must_use]
pub fn part(program: &Path, data: &Path, address: IpAddr) -> Part {
    let args = [
        "--jetstream".into(),
        "--store_dir".into(),
        text(data),
        "--addr".into(),
        address.to_string(),
        "--port=4222".into(),
    ];
    Part::new("nats", program, args, Ready::Tcp((address, 4222).into()))
}
