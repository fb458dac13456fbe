//! The service on a real API server and real registries: Distributions of the test's own, and the
//! cluster's `docker.io` and `registry.test`.

mod bad;
mod publish;
mod resume;
mod scene;
mod stage;
mod superseded;
