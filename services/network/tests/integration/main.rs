//! The network service against a real API server, a real bind9 and a stand-in for Cloudflare.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod abandon;
mod cloudflare;
mod cluster;
mod harness;
mod hosts;
mod poison;
mod preview;
mod probe;
mod process;
mod rfc2136;
mod strangers;
mod tunnel;
