//! How to start one real part: a file per program or family of programs. A part is a plain value;
//! where it runs is up to whoever starts it.

pub mod cloudflare;
pub mod control_plane;
pub mod git;
pub mod kwok;
pub mod name_server;
pub mod nats;
pub mod node;
pub mod registry;
pub mod traces;
