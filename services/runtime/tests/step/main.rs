//! The bus against a real NATS, and sections against a real API server.

mod bus;
mod permissions;
mod process;
mod recovery;
mod scene;
mod sections;
