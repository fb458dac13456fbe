//! What an image consists of, as far as it is copied. Manifests are copied byte by byte; only what
//! they refer to is read.

use sequencer_runtime::registry::{Descriptor, Digest, Manifest, TYPES};
use thiserror::Error;

/// A blob that a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
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
    #[error("a manifest is of a type that is not copied")]
    Type,
    /// No JSON of that type.
    #[error("a manifest is not as its type prescribes")]
    Malformed,
    /// Content that lies elsewhere and may not be distributed.
    #[error("a layer lies at a URL of its own")]
    Foreign,
}

impl Parts {
    /// What a manifest refers to.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub fn of(manifest: &Manifest) -> Result<Self, Unfit> {
        if !TYPES.contains(&manifest.media_type.as_str()) {
            return Err(Unfit::Type);
        }

        let document = manifest.document().map_err(|_error| Unfit::Malformed)?;
        let is_index =
            manifest.media_type.contains("index") || manifest.media_type.contains("list");
        if is_index != document.config.is_none() || is_index && !document.layers.is_empty() {
            return Err(Unfit::Malformed);
        }

        let manifests = if is_index {
            document.manifests
        } else {
            Vec::new()
        };

        let blobs: Vec<_> = document.config.into_iter().chain(document.layers).collect();
        if blobs.iter().chain(&manifests).any(is_foreign) {
            return Err(Unfit::Foreign);
        }

        Ok(Self {
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

fn is_foreign(part: &Descriptor) -> bool {
    !part.urls.is_empty()
        || part.media_type.contains("foreign")
        || part.media_type.contains("nondistributable")
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
            let parts = Parts::of(&manifest(media_type, &document)).unwrap();
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
            let parts = Parts::of(&manifest(media_type, &document)).unwrap();
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
                Parts::of(&manifest(media_type, &document)),
                Err(wanted),
                "{document}"
            );
        }
    }
}
