//! The staging registry: what is there under a content key.

use data_encoding::HEXLOWER;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode, Url};
use secrecy::ExposeSecret as _;
use sequencer_api::login::Login;
use sequencer_api::names;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The one tag of a staged repository.
const TAG: &str = "latest";

/// What a manifest may be.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// The most bytes of a manifest.
const LONGEST: u64 = 4 * 1024 * 1024;

/// The registry does not tell.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StagingError {
    /// It is no URL of a registry.
    #[error("the staging registry's URL is http[s]://host[:port][/path]")]
    Url,
    /// It does not answer.
    #[error("the staging registry does not answer")]
    Silent(#[source] reqwest::Error),
    /// It refuses.
    #[error("the staging registry answers {0}")]
    Refused(StatusCode),
    /// What it has is no manifest.
    #[error("the staging registry has something else than a manifest")]
    Malformed,
}

/// The staging registry.
#[derive(Clone, Debug)]
pub struct Staging {
    http: Client,
    base: Url,
    login: Option<Login>,
}

/// A staged image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The digest of its manifest, computed from what was read.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// Bytes of all layers.
    pub size: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: i64,
}

impl Staging {
    /// The registry at a URL, which says whether it is plain http.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn new(http: Client, url: &str, login: Option<Login>) -> Result<Self, StagingError> {
        let base: Url = url
            .trim_end_matches('/')
            .parse()
            .map_err(|_error| StagingError::Url)?;
        let plain = base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() || !plain {
            return Err(StagingError::Url);
        }
        Ok(Self { http, base, login })
    }

    /// Whether it speaks plain http.
    #[must_use]
    pub fn plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// Its login.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// `host[:port]`, as images name it.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// `host[:port]/path` of a repository of ours.
    #[must_use]
    pub fn repository(&self, path: &str) -> String {
        format!(
            "{}{}/{path}",
            self.host(),
            self.base.path().trim_end_matches('/')
        )
    }

    /// Where the image of a key is pushed to.
    #[must_use]
    pub fn image(&self, namespace: &str, key: &str) -> String {
        format!("{}:{TAG}", self.repository(&names::staging(namespace, key)))
    }

    /// The image of a key, if it is there.
    ///
    /// # Errors
    /// See [`StagingError`].
    pub async fn find(&self, namespace: &str, key: &str) -> Result<Option<Staged>, StagingError> {
        let repository = names::staging(namespace, key);
        let Some((staged, manifest)) = self.manifest(&repository, TAG).await? else {
            return Ok(None);
        };
        let mut size: i64 = manifest.layers.iter().map(|layer| layer.size).sum();
        for child in &manifest.manifests {
            let child = self
                .manifest(&repository, &child.digest)
                .await?
                .ok_or(StagingError::Malformed)?;
            size = size.saturating_add(child.1.layers.iter().map(|layer| layer.size).sum());
        }
        Ok(Some(Staged { size, ..staged }))
    }

    async fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<(Staged, Manifest)>, StagingError> {
        let path = self
            .base
            .path()
            .trim_end_matches('/')
            .trim_start_matches('/');
        let repository = if path.is_empty() {
            repository.to_owned()
        } else {
            format!("{path}/{repository}")
        };
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{repository}/manifests/{reference}"));
        let mut request = self.http.get(url).header(ACCEPT, MANIFESTS);
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.username, Some(login.password.expose_secret()));
        }
        let answer = request
            .send()
            .await
            .map_err(|error| StagingError::Silent(error.without_url()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            other => return Err(StagingError::Refused(other)),
        }
        if answer
            .content_length()
            .is_some_and(|length| length > LONGEST)
        {
            return Err(StagingError::Malformed);
        }
        let told = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(Into::into);
        let body = answer
            .bytes()
            .await
            .map_err(|error| StagingError::Silent(error.without_url()))?;
        let manifest: Manifest =
            serde_json::from_slice(&body).map_err(|_error| StagingError::Malformed)?;
        let media_type = manifest
            .media_type
            .clone()
            .or(told)
            .ok_or(StagingError::Malformed)?;
        let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&body)));
        Ok(Some((
            Staged {
                digest,
                media_type,
                size: 0,
            },
            manifest,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(url: &str) -> Result<Staging, StagingError> {
        drop(rustls::crypto::ring::default_provider().install_default());
        Staging::new(Client::new(), url, None)
    }

    #[test]
    fn images_are_named_by_host_path_and_key() {
        let plain = staging("http://staging.sequencer-system.svc:5000").unwrap();
        assert!(plain.plain_http());
        let image = plain.image("team", "k");
        assert_eq!(
            image,
            format!(
                "staging.sequencer-system.svc:5000/{}:latest",
                names::staging("team", "k")
            )
        );
        let below = staging("https://registry.example/seq/").unwrap();
        assert!(!below.plain_http());
        assert_eq!(below.repository("cache"), "registry.example/seq/cache");
    }

    #[test]
    fn a_url_with_a_login_or_of_another_scheme_is_refused() {
        for url in ["https://u:p@h", "ftp://h", "h:5000", "https://h?x", ""] {
            assert!(staging(url).is_err(), "{url}");
        }
    }
}
