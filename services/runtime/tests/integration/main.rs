//! The bus against a real NATS, and sections against a real API server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod bus;
mod permissions;
mod process;
mod recovery;
mod scene;
mod secrets;
mod sections;
