//! One repository of a registry, by the OCI distribution specification.
//!
//! A client on reqwest and not `oci-client` 0.18: that makes its HTTP client itself, so that
//! neither the resolver which refuses private addresses nor our limits on redirects, proxies and
//! silence can be given to it; it goes wherever a registry's `Location` and token realm lead.

mod access;
mod challenge;
mod digest;
mod fault;
mod login;
mod manifest;
#[cfg(test)]
mod tests;
mod upload;

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use sequencer_api::login::Login;
use sequencer_api::repository::Repository;

use self::access::Access;
use self::challenge::Challenge;
use self::manifest::LONGEST;
use crate::egress::EgressGuard;

pub use digest::{Digest, Hasher};
pub use fault::Fault;
pub use login::{CredentialsError, LoginFileError, SecretLogin, read_login, read_login_file};
pub use manifest::{Descriptor, Document, Manifest, TYPES};

/// How long an answer may take, uploads and downloads of blobs apart.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than anything takes.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// How often a registry may send elsewhere.
const REDIRECTS: usize = 3;

/// The digest of what was asked for.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A repository and the way in.
#[derive(Debug)]
pub struct Registry {
    http: Client,
    /// What may be reached; nothing where the operator named the registry.
    egress: Option<EgressGuard>,
    /// `<origin>/v2/<path>/`
    base: Url,
    access: Access,
}

impl Registry {
    /// A repository that a user named, to push to. `http` is made by [`client`].
    ///
    /// # Errors
    /// Its host leads to a private address.
    pub fn guarded(
        http: &Client,
        egress: &EgressGuard,
        repository: &Repository,
        login: Option<Login>,
    ) -> Result<Self, Fault> {
        let base = format!(
            "https://{}/v2/{}/",
            repository.api_host(),
            repository.path()
        );
        let base: Url = base
            .parse()
            .map_err(|_error| Fault::Protocol("its host is none"))?;
        egress.check_url(&base)?;
        let access = Access::new(login, format!("repository:{}:pull,push", repository.path()));
        Ok(Self {
            http: http.clone(),
            egress: Some(egress.clone()),
            base,
            access,
        })
    }

    /// A repository of a registry that the operator named, to pull from. `path` is below the path
    /// of the registry's URL.
    ///
    /// # Errors
    /// The two paths together are none of a repository.
    pub fn trusted(
        http: &Client,
        registry: &Url,
        path: &str,
        login: Option<Login>,
    ) -> Result<Self, Fault> {
        // As what it is a path of, it is judged as strictly as a user's.
        let repository = format!("docker.io{}/{path}", registry.path().trim_end_matches('/'))
            .parse::<Repository>()
            .map_err(|_error| Fault::Missing)?;
        let path = repository.path();

        let base = registry
            .join(&format!("/v2/{path}/"))
            .map_err(|_error| Fault::Missing)?;
        let access = Access::new(login, format!("repository:{path}:pull")).unasked()?;

        Ok(Self {
            http: http.clone(),
            egress: None,
            base,
            access,
        })
    }

    /// Whether it has a blob.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Fault> {
        let answer = self
            .ask(Method::HEAD, &format!("blobs/{digest}"), TIMEOUT)
            .await?;
        Ok(found(answer)?.is_some())
    }

    /// A blob, to be read bit by bit.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn blob(&self, digest: &Digest) -> Result<Response, Fault> {
        let answer = self
            .ask(Method::GET, &format!("blobs/{digest}"), FOREVER)
            .await?;
        found(answer)?.ok_or(Fault::Missing)
    }

    /// A manifest by its digest, which its content is checked against.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, Fault> {
        let manifest = self
            .find_manifest(digest.as_str())
            .await?
            .ok_or(Fault::Missing)?;
        if manifest.digest == *digest {
            Ok(manifest)
        } else {
            Err(Fault::Digest)
        }
    }

    /// The manifest that a tag points to, if there is one. Nothing says which it has to be: its
    /// digest is that of its content.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn find_manifest(&self, tag: &str) -> Result<Option<Manifest>, Fault> {
        let path = format!("manifests/{tag}");
        let Some(answer) = found(self.ask(Method::GET, &path, TIMEOUT).await?)? else {
            return Ok(None);
        };

        let media_type = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_owned();
        let bytes = body(answer, LONGEST).await?;

        Ok(Some(Manifest {
            digest: Digest::of(&bytes),
            media_type,
            bytes,
        }))
    }

    /// The digest that a tag points to, or a manifest's own, if there is one.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn digest_of(&self, reference: &str) -> Result<Option<Digest>, Fault> {
        let path = format!("manifests/{reference}");
        let Some(answer) = found(self.ask(Method::HEAD, &path, TIMEOUT).await?)? else {
            return Ok(None);
        };

        if let Some(digest) = answer
            .headers()
            .get(CONTENT_DIGEST)
            .and_then(|value| value.to_str().ok()?.parse().ok())
        {
            return Ok(Some(digest));
        }

        let manifest = self.find_manifest(reference).await?;
        Ok(manifest.map(|manifest| manifest.digest))
    }

    /// Sends a manifest, and points this tag to it; its digest in the place of a tag stores it and
    /// no more.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn put_manifest(&self, reference: &str, manifest: &Manifest) -> Result<(), Fault> {
        let url = self.url(&format!("manifests/{reference}"))?;
        let answer = self.send(|| {
            let request = self
                .http
                .put(url.clone())
                .header(CONTENT_TYPE, &manifest.media_type)
                .timeout(TIMEOUT);
            request.body(manifest.bytes.clone())
        });
        taken(answer.await?).map(drop)
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        self.base
            .join(path)
            .map_err(|_error| Fault::Protocol("its host is none"))
    }

    fn is_own(&self, url: &Url) -> bool {
        origin(url) == origin(&self.base)
    }

    /// Reads something, wherever it lies. The login goes to the registry itself and to nobody else.
    async fn ask(&self, method: Method, path: &str, timeout: Duration) -> Result<Response, Fault> {
        let mut url = self.url(path)?;

        for _ in 0..=REDIRECTS {
            let request = || {
                let request = self
                    .http
                    .request(method.clone(), url.clone())
                    .timeout(timeout);
                TYPES.iter().fold(request, |request, media_type| {
                    request.header(ACCEPT, *media_type)
                })
            };

            let answer = if self.is_own(&url) {
                self.send(request).await?
            } else {
                judged(request().send().await?)?
            };

            if !answer.status().is_redirection() {
                return Ok(answer);
            }

            url = self.location(&url, &answer)?;
        }

        Err(Fault::Protocol("it sends from one place to the next"))
    }

    /// Sends a request, and once more with what the registry asks for.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Fault> {
        let used = self.access.header().await;
        let answer = with(request(), used.as_ref()).send().await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return judged(answer);
        }

        let challenge =
            Challenge::of(answer.headers()).ok_or(Fault::Refused(StatusCode::UNAUTHORIZED))?;
        let egress = self.egress.as_ref();
        let header = self
            .access
            .renew(&self.http, egress, &self.base, &challenge, used.as_ref())
            .await?;
        judged(with(request(), Some(&header)).send().await?)
    }

    /// Where an answer leads.
    fn location(&self, from: &Url, answer: &Response) -> Result<Url, Fault> {
        let place = answer
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let place = place
            .and_then(|place| from.join(place).ok())
            .ok_or(Fault::Protocol("it leads nowhere"))?;
        if place.scheme() != "https" && !self.is_own(&place) {
            return Err(Fault::Protocol("it leads to a place without https"));
        }

        if let Some(egress) = &self.egress {
            egress.check_url(&place)?;
        }

        Ok(place)
    }
}

/// A client for what users name. HTTP/1.1, so that each layer has a connection of its own; and
/// silent for as long as an upload takes, since silence is counted from the request's begin:
/// `silent` watches uploads.
///
/// # Errors
/// The certificate authorities cannot be used.
pub fn client(egress: &EgressGuard) -> reqwest::Result<Client> {
    egress.http().http1_only().read_timeout(FOREVER).build()
}

/// A client for the registry that the operator named.
///
/// # Errors
/// The certificate authorities cannot be used.
pub fn trusted_client(egress: &EgressGuard) -> reqwest::Result<Client> {
    egress.trusted().http1_only().build()
}

fn with(request: RequestBuilder, header: Option<&HeaderValue>) -> RequestBuilder {
    match header {
        Some(header) => request.header(AUTHORIZATION, header.clone()),
        None => request,
    }
}

fn origin(url: &Url) -> (&str, Option<&str>, Option<u16>) {
    (url.scheme(), url.host_str(), url.port_or_known_default())
}

/// What any request may be answered with.
fn judged(answer: Response) -> Result<Response, Fault> {
    match answer.status() {
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Fault::Refused(status)),
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Err(Fault::Busy(status))
        }
        _ => Ok(answer),
    }
}

/// The answer to a question.
fn found(answer: Response) -> Result<Option<Response>, Fault> {
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(answer)),
        status => Err(Fault::Answer(status)),
    }
}

/// The answer to something that was sent.
fn taken(answer: Response) -> Result<Response, Fault> {
    found(answer)?.ok_or(Fault::Missing)
}

/// An answer's content, at most so many bytes.
async fn body(mut answer: Response, longest: usize) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();

    while let Some(part) = answer.chunk().await? {
        if content.len() + part.len() > longest {
            return Err(Fault::Protocol("it answers too much"));
        }
        content.extend_from_slice(&part);
    }

    Ok(content)
}
