//! Manifests: what an image consists of. Their bytes stay as they are, since their digest is of
//! them.

use serde::Deserialize;

use super::Digest;

/// The media types that are asked for: OCI's and Docker's, of an image and of an index.
pub const TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The longest manifest that registries take.
pub(super) const LONGEST: usize = 4 << 20;

/// A manifest as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub digest: Digest,
    /// How it is to be read, as the registry says.
    pub media_type: String,
    /// Its bytes, which the digest is of.
    pub bytes: Vec<u8>,
}

/// What stands in a manifest, of an image or of an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// How it is to be read, as it says itself.
    pub media_type: Option<String>,
    /// The configuration of an image.
    pub config: Option<Descriptor>,
    /// The layers of an image.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifests of an index: platforms, and attestations.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// What a manifest refers to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// How it is to be read.
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where else it lies.
    #[serde(default)]
    pub urls: Vec<String>,
}

impl Manifest {
    /// What stands in it.
    ///
    /// # Errors
    /// It is no JSON of a manifest. The error may quote it.
    pub fn document(&self) -> serde_json::Result<Document> {
        serde_json::from_slice(&self.bytes)
    }
}
