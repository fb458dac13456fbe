//! The builder against a real API server, NATS, git server, BuildKit and registry.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod build;
mod buildkit;
mod buildkitd;
mod git;
mod harness;
mod repository;
mod resolve;
