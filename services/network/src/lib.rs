//! DNS records, tunnels, and the probe of what they lead to: everything of a preview that is
//! outside of the cluster.

pub mod args;
pub mod cloudflare;
pub mod dns;
pub mod error;
mod handle;
pub mod mark;
mod patience;
mod probe;
pub mod service;
pub mod tunnel;
