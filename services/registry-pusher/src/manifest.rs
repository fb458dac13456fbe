//! Manifests: what an image consists of. They are copied byte by byte; only what they refer to is
//! read.

use serde::Deserialize;
use thiserror::Error;

use crate::digest::Digest;

/// The media types that are asked for and copied: OCI's and Docker's, of an image and of an index.
pub const TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The longest manifest that registries take.
pub const LONGEST: usize = 4 << 20;

/// A manifest as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub digest: Digest,
    /// How it is to be read.
    pub media_type: String,
    /// Its bytes, which the digest is of.
    pub bytes: Vec<u8>,
}

/// A blob that a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Manifests: the platforms of an index, and attestations.
    pub manifests: Vec<Digest>,
    /// The configuration and the layers.
    pub blobs: Vec<Blob>,
}

/// A manifest that cannot be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Of another type.
    #[error("a manifest is of a type that is not copied")]
    Type,
    /// No JSON of that type.
    #[error("a manifest is not as its type prescribes")]
    Malformed,
    /// Content that lies elsewhere and may not be distributed.
    #[error("a layer lies at a URL of its own")]
    Foreign,
}

#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    urls: Vec<String>,
}

impl Manifest {
    /// What it refers to.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub fn parts(&self) -> Result<Parts, Unfit> {
        if !TYPES.contains(&self.media_type.as_str()) {
            return Err(Unfit::Type);
        }
        let document: Document =
            serde_json::from_slice(&self.bytes).map_err(|_error| Unfit::Malformed)?;
        let is_index = self.media_type.contains("index") || self.media_type.contains("list");
        if is_index != document.config.is_none() || is_index && !document.layers.is_empty() {
            return Err(Unfit::Malformed);
        }
        let manifests = if is_index {
            document.manifests
        } else {
            Vec::new()
        };
        let blobs: Vec<_> = document.config.into_iter().chain(document.layers).collect();
        let foreign = |part: &Descriptor| {
            !part.urls.is_empty()
                || part.media_type.contains("foreign")
                || part.media_type.contains("nondistributable")
        };
        if blobs.iter().chain(&manifests).any(foreign) {
            return Err(Unfit::Foreign);
        }
        Ok(Parts {
            manifests: manifests.into_iter().map(|part| part.digest).collect(),
            blobs: blobs
                .into_iter()
                .map(|part| Blob {
                    digest: part.digest,
                    size: part.size,
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manifest(media_type: &str, document: &Value) -> Manifest {
        let bytes = document.to_string().into_bytes();
        Manifest {
            digest: Digest::of(&bytes),
            media_type: media_type.into(),
            bytes,
        }
    }

    fn descriptor(content: &str, extra: &Value) -> Value {
        let mut value = json!({"mediaType": "x", "digest": Digest::of(content.as_bytes()).as_str(), "size": content.len()});
        value
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().cloned().unwrap_or_default());
        value
    }

    #[test]
    fn an_image_is_its_configuration_and_layers_and_an_index_its_manifests() {
        let document = json!({"config": descriptor("c", &json!({})), "layers": [descriptor("layer", &json!({}))]});
        for media_type in [TYPES[1], TYPES[3]] {
            let parts = manifest(media_type, &document).parts().unwrap();
            let wanted = ["c", "layer"].map(|text| Blob {
                digest: Digest::of(text.as_bytes()),
                size: text.len() as u64,
            });
            assert_eq!(
                parts,
                Parts {
                    manifests: Vec::new(),
                    blobs: wanted.to_vec()
                }
            );
        }
        let document =
            json!({"manifests": [descriptor("a", &json!({})), descriptor("b", &json!({}))]});
        for media_type in [TYPES[0], TYPES[2]] {
            let parts = manifest(media_type, &document).parts().unwrap();
            assert_eq!(
                parts,
                Parts {
                    manifests: vec![Digest::of(b"a"), Digest::of(b"b")],
                    blobs: Vec::new()
                }
            );
        }
    }

    #[test]
    fn what_cannot_be_copied_is_refused() {
        let config = descriptor("c", &json!({}));
        let layer = |extra| json!({"config": config, "layers": [descriptor("l", &extra)]});
        for (media_type, document, wanted) in [
            ("text/html", json!({}), Unfit::Type),
            (TYPES[1], json!([]), Unfit::Malformed),
            (TYPES[1], json!({"layers": []}), Unfit::Malformed),
            (
                TYPES[0],
                json!({"config": config, "layers": []}),
                Unfit::Malformed,
            ),
            (TYPES[0], json!({"layers": [config]}), Unfit::Malformed),
            (
                TYPES[1],
                layer(json!({"digest": "sha256:../../x"})),
                Unfit::Malformed,
            ),
            (TYPES[1], layer(json!({"size": -1})), Unfit::Malformed),
            (
                TYPES[1],
                layer(json!({"urls": ["https://evil.example/layer"]})),
                Unfit::Foreign,
            ),
            (
                TYPES[3],
                layer(
                    json!({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}),
                ),
                Unfit::Foreign,
            ),
            (
                TYPES[1],
                layer(
                    json!({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"}),
                ),
                Unfit::Foreign,
            ),
        ] {
            assert_eq!(
                manifest(media_type, &document).parts(),
                Err(wanted),
                "{document}"
            );
        }
    }
}
