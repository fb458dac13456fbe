//! A stand-in for Cloudflare, for tests: its API, its name server, its edge, and the connector
//! `cloudflared`.
//!
//! [`serve`] starts Cloudflare, [`Connector::start`] a connector; both run in the calling process.
//! The binaries `cloudflare` and `cloudflared` run the same. What is faithful and what is not is in
//! the README.
mod admin;
mod api;
mod body;
mod clock;
mod cloud;
mod connector;
mod counters;
mod dns;
mod edge;
mod faults;
mod ingress;
mod limit;
mod link;
mod links;
mod listen;
mod lookup;
mod name;
mod origin;
mod record;
mod server;
mod state;
mod tasks;
mod tls;
mod tunnel;
mod upgrade;

pub use rustls::RootCertStore;

pub use self::{
    connector::{Connector, ConnectorError, ConnectorSettings},
    limit::Limit,
    server::{Addresses, Error, Running, Settings, serve},
    tls::native_roots,
};
