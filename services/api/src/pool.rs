//! Who may name a pool of builders. Pure: the watcher refuses by it, and a builder checks again
//! before it acts.

use crate::provider::matches;

/// The namespaces that a pool is open to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access(Vec<String>);

impl Access {
    /// These names, or patterns like `team-*`; without any, every namespace.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.to_vec())
    }

    /// Whether it is open to a namespace.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_without_namespaces_is_open_to_all_and_one_with_some_to_these_alone() {
        assert!(Access::default().contains("team-a") && Access::new(&[]).contains(""));
        let some = Access::new(&["team-*".into(), "ops".into()]);
        assert!(some.contains("team-a") && some.contains("team-") && some.contains("ops"));
        for other in ["ops2", "my-team-a", "", "*"] {
            assert!(!some.contains(other), "{other}");
        }

        assert!(Access::new(&["*".into()]).contains("anybody"));
        assert!(!Access::new(&[String::new()]).contains("anybody"));
    }
}
