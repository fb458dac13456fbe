//! The bus against a real NATS, and sections against a real API server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod bus;
mod harness;
mod permissions;
mod process;
mod recovery;
mod secrets;
mod sections;
mod streams;
