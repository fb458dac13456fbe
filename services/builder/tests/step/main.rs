//! The adapters against a real git server, BuildKit and registry.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod buildkit;
mod buildkitd;
mod git;
mod repository;
