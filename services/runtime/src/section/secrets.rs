//! The Secrets that one piece of work reads, and in which versions it read them: if the work fails
//! because of one, a new version of it is a reason to try again at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sequencer_api::secret::{Credentials, SecretRef};

use crate::cluster::secret::{Secret, SecretError, Secrets};

/// resourceVersions by `<namespace>/<name>`; empty where there was no Secret to read.
pub type Versions = BTreeMap<String, String>;

/// Reads Secrets for one object and remembers their versions.
#[derive(Debug)]
pub struct SecretReader {
    secrets: Secrets,
    namespace: String,
    versions: Mutex<Versions>,
}

impl SecretReader {
    /// Reads what an object of this namespace refers to.
    #[must_use]
    pub fn new(secrets: Secrets, namespace: &str) -> Self {
        Self {
            secrets,
            namespace: namespace.into(),
            versions: Mutex::default(),
        }
    }

    /// Reads a Secret.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn read(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let read = self.secrets.read(&self.namespace, reference).await;

        self.versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.source(reference), version(&read));
        read
    }

    /// Reads the Secret that credentials name.
    ///
    /// # Errors
    /// They name none, or see [`SecretError`].
    pub async fn named(&self, credentials: &Credentials) -> Result<Secret, SecretError> {
        let reference = credentials
            .secret_ref
            .as_ref()
            .ok_or(SecretError::Unnamed)?;
        self.read(reference).await
    }

    /// The versions of all that was read.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether one of these Secrets has another version now.
    pub async fn is_any_changed(&self, versions: &Versions) -> bool {
        for (source, before) in versions {
            let Some((namespace, name)) = source.split_once('/') else {
                continue;
            };

            let reference = SecretRef {
                name: name.into(),
                namespace: Some(namespace.into()),
            };

            let now = self.secrets.read(&self.namespace, &reference).await;
            if version(&now) != *before {
                return true;
            }
        }
        false
    }

    fn source(&self, reference: &SecretRef) -> String {
        let namespace = reference.namespace.as_ref().unwrap_or(&self.namespace);
        format!("{namespace}/{}", reference.name)
    }
}

fn version(read: &Result<Secret, SecretError>) -> String {
    read.as_ref()
        .map(|secret| secret.version().to_owned())
        .unwrap_or_default()
}
