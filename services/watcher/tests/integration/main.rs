//! The watcher as a process, on a real API server and a real NATS.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed and says why"
)]

mod asked;
mod blocked;
mod denied;
mod events;
mod harness;
mod hosts;
mod leader;
mod life;
mod limits;
mod own;
mod services;
mod strangers;
mod superseded;
mod unreadable;
