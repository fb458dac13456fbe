//! What this process still lacks to do its work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether every part is ready. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, bool>>>);

/// One thing that has to be ready.
#[derive(Clone, Debug)]
pub struct Part {
    all: Readiness,
    name: String,
}

impl Readiness {
    /// Adds a part, which is not ready yet. `name` says to a person what is missing.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part {
            all: self.clone(),
            name: name.into(),
        };
        part.set(false);
        part
    }

    /// The parts that are not ready, by name.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Says whether it is ready.
    pub fn set(&self, ready: bool) {
        self.all.lock().insert(self.name.clone(), ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ready_is_named() {
        let readiness = Readiness::default();
        let (nats, _crds) = (readiness.part("nats"), readiness.part("crds"));
        assert_eq!(readiness.missing(), ["crds", "nats"]);
        nats.set(true);
        assert_eq!(readiness.missing(), ["crds"]);
        nats.set(false);
        assert_eq!(readiness.missing(), ["crds", "nats"]);
    }
}
