//! Publishes images: copies what the builder staged to every registry of a Build, by digest, and
//! points the tags to it. The library is the service without its process, for tests that drive it.

pub mod args;
pub mod copy;
pub mod error;
pub mod handle;
pub mod parts;
pub mod plan;
mod record;
mod turns;
mod verified;

pub use handle::Service;
