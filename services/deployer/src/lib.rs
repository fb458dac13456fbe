//! The deployer: what a Component asks for runs in the cluster, what a Workspace serves has its
//! Ingress, and both say how they are.

mod apply;
pub mod args;
mod deploy;
pub mod error;
mod failure;
pub mod handle;
mod ingress;
mod logs;
pub mod plan;
mod pull;
mod queue;
mod read;
mod readiness;
mod record;
mod variables;
pub mod watch;
