//! The service on a real API server and real registries: Distributions of the test's own, and the
//! cluster's `docker.io` and `registry.test`.

mod bad;
mod harness;
mod publish;
mod resume;
mod stage;
mod superseded;
