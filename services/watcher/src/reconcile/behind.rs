//! Which objects this watcher has written a status of that the cache does not have yet. What would
//! be derived from what is there could not be written any more: its event is on its way, and has it
//! reconciled.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use sequencer_api::stored::Stored as _;
use uuid::Uuid;

/// By an object's uid, the version that its status was written over last.
#[derive(Debug, Default)]
pub struct Behind(Mutex<HashMap<Uuid, String>>);

impl Behind {
    /// A status was written over this object, which is `after` then. Where nothing changed by it, no
    /// event comes.
    pub(super) fn wrote(&self, object: &impl ResourceExt, after: &impl ResourceExt) {
        if let Some(version) = object.resource_version()
            && after.resource_version().as_ref() != Some(&version)
        {
            self.versions().insert(object.uuid(), version);
        }
    }

    /// Whether a status was written over this very version. Versions are compared, and not ordered:
    /// only their event can tell what came after.
    pub(super) fn is_behind(&self, object: &impl ResourceExt) -> bool {
        let version = object.resource_version();
        version.is_some() && self.versions().get(&object.uuid()) == version.as_ref()
    }

    /// An object is gone, or was listed: it is as it is, even if that is an older version.
    pub(crate) fn forget(&self, uid: &Uuid) {
        self.versions().remove(uid);
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<Uuid, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sequencer_api::Workspace;
    use serde_json::json;

    use super::*;

    fn version(version: &str) -> Workspace {
        serde_json::from_value(json!({
            "metadata": {"name": "w", "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10", "resourceVersion": version},
            "spec": {"components": []},
        }))
        .unwrap()
    }

    #[test]
    fn only_the_version_that_was_written_over_is_old() {
        let behind = Behind::default();
        assert!(!behind.is_behind(&version("7")));
        behind.wrote(&version("7"), &version("7"));
        assert!(!behind.is_behind(&version("7")));
        behind.wrote(&version("7"), &version("8"));
        assert!(behind.is_behind(&version("7")));
        // Whichever it is: somebody may have restored an older one.
        assert!(!behind.is_behind(&version("8")));
        assert!(!behind.is_behind(&version("6")));
        behind.forget(&version("7").uuid());
        assert!(!behind.is_behind(&version("7")));
    }
}
