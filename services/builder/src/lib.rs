//! The builder: finds the commits that branches stand at, and builds images from them with
//! BuildKit.

pub mod args;
pub mod buildkit;
mod credentials;
mod error;
pub mod git;
mod handle;
pub mod key;
mod lease;
pub mod plan;
pub mod redact;
mod source;
pub mod staging;
pub mod supervise;

pub use handle::{Service, StartError};
pub use lease::{Supervisor, WrongAddress};
