//! What the services say to each other: the messages, and the one table of where they go.
//!
//! Messages are hints. Objects in Kubernetes hold the truth, so every stream may be lost at any
//! moment.

#![warn(missing_docs)]

pub mod topics;

pub use prost::{DecodeError, Message};

/// The messages of `sequencer/v1/*.proto`.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/sequencer.v1.rs"));
}
