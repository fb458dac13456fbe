//! The programs of others.

/// Where git, ssh and what they start are found: their environments are cleared.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
