//! The kinds of Sequencer: what a user writes, what the services record, and the words and codes of
//! both. No client and no IO: the API server holds the truth, and this crate only says what it
//! looks like.

#![warn(missing_docs)]
#![allow(
    unreachable_pub,
    reason = "the derive of schemas repeats each type inside a function"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "a print column is an attribute among its like"
)]

mod abandon;
pub mod build;
pub mod code;
pub mod component;
pub mod condition;
pub mod crd;
pub mod dependencies;
pub mod dns_record;
#[cfg(test)]
mod docs;
pub mod host;
pub mod image;
pub mod inputs;
pub mod labels;
pub mod login;
pub mod names;
mod object_ref;
pub mod owner;
mod pattern;
pub mod pool;
pub mod private;
pub mod provider;
pub mod repository;
pub mod routes;
pub mod secret;
pub mod status;
pub mod stored;
pub mod variables;
pub mod workspace;

pub use build::{Build, BuildSpec};
pub use component::{Component, ComponentSpec};
pub use dns_record::{DNSRecord, DNSRecordSpec};
pub use workspace::{Workspace, WorkspaceSpec};

/// The API group of every kind.
pub const GROUP: &str = "se.quencer.io";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
