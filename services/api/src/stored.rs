//! What the API server gives every object that it stores, so that nobody else has to say what it
//! means if that is missing.

use kube::Resource;
use uuid::Uuid;

/// An object that was read from the API server. One that was never stored has none of this: its
/// words are empty, its generation is 0 and its uid is nil.
pub trait Stored: Resource {
    /// Returns `metadata.uid`.
    fn uid_str(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// Returns `metadata.uid` as a number.
    fn uuid(&self) -> Uuid {
        Uuid::try_parse(self.uid_str()).unwrap_or_default()
    }

    /// Returns `metadata.namespace`.
    fn namespace_str(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    /// Returns `metadata.generation`.
    fn generation(&self) -> i64 {
        self.meta().generation.unwrap_or_default()
    }

    /// Tells whether this finalizer keeps it.
    fn has_finalizer(&self, finalizer: &str) -> bool {
        let mut finalizers = self.meta().finalizers.iter().flatten();
        finalizers.any(|found| found == finalizer)
    }
}

impl<K: Resource> Stored for K {}
