//! The deployer against the running cluster, and against API servers of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod alone;
mod builds;
mod children;
mod claims;
mod failures;
mod harness;
mod ingress;
mod plain;
mod pod_security;
mod process;
