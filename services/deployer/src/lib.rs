//! The deployer: what a Component asks for runs in the cluster, what a Workspace serves has its
//! Ingress, and both say how they are.

mod apply;
pub mod args;
mod changes;
pub mod controllers;
mod deploy;
pub mod error;
mod ingress;
mod logs;
pub mod plan;
mod pull;
mod read;
mod readiness;
pub mod reconcile;
mod section;
pub mod service;
mod settled;
mod throttle;
pub mod triggers;
mod variables;
