//! What the parts of a process share.

use crate::readiness::Readiness;
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

/// What parts of a process share. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Handles {
    /// When to come to an end.
    pub shutdown: Shutdown,
    /// What is missing.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
}
