//! Tunnels at Cloudflare's stand-in.

mod access;
mod connector;
mod creation;
mod deletion;
