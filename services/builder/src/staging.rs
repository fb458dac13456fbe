//! The staging registry: what is there under a content key.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, Url};
use sequencer_api::login::Login;
use sequencer_api::names;
use sequencer_runtime::registry::{Document, Fault, Manifest, Registry};
use thiserror::Error;

/// The one tag of a staged repository.
const TAG: &str = "latest";

/// How many manifests are read at once.
const AT_ONCE: usize = 4;

/// The registry does not tell.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StagingError {
    /// It is no URL of a registry.
    #[error("the staging registry's URL is http[s]://host[:port][/path]")]
    Url,
    /// It does not answer, or refuses.
    #[error("the staging registry")]
    Registry(#[from] Fault),
    /// What it has is no manifest.
    #[error("the staging registry has something else than a manifest")]
    Malformed,
}

#[derive(Clone, Debug)]
pub struct Staging {
    http: Client,
    base: Url,
    /// `host[:port]`, as images name it.
    host: String,
    login: Option<Login>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The digest of its manifest, computed from what was read.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// Bytes of all layers.
    pub size: i64,
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
        let (true, true, Some(host)) = (
            plain,
            matches!(base.scheme(), "http" | "https"),
            base.host_str(),
        ) else {
            return Err(StagingError::Url);
        };

        let host = base
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));

        Ok(Self {
            http,
            base,
            host,
            login,
        })
    }

    /// Whether it speaks plain http.
    #[must_use]
    pub fn plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// `host[:port]`, as images name it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `host[:port]/path` of a repository of ours.
    #[must_use]
    pub fn repository(&self, path: &str) -> String {
        format!(
            "{}{}/{path}",
            self.host,
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
        let path = names::staging(namespace, key);
        let registry = Registry::trusted(&self.http, &self.base, &path, self.login.clone())?;
        let Some(manifest) = registry.find_manifest(TAG).await? else {
            return Ok(None);
        };

        let document = content(&manifest)?;

        let mut layers = document.layers;
        let registry = &registry;
        let children = document.manifests.into_iter();
        let children = children.map(|child| async move { registry.manifest(&child.digest).await });
        let mut children = stream::iter(children).buffered(AT_ONCE);
        while let Some(child) = children.try_next().await? {
            layers.extend(content(&child)?.layers);
        }

        let size = layers
            .iter()
            .fold(0_u64, |size, layer| size.saturating_add(layer.size));

        let media_type = document.media_type.unwrap_or(manifest.media_type);
        if media_type.is_empty() {
            return Err(StagingError::Malformed);
        }

        Ok(Some(Staged {
            digest: manifest.digest.to_string(),
            media_type,
            size: i64::try_from(size).unwrap_or(i64::MAX),
        }))
    }
}

fn content(manifest: &Manifest) -> Result<Document, StagingError> {
    manifest
        .document()
        .map_err(|_error| StagingError::Malformed)
}

#[cfg(test)]
mod tests {
    use sequencer_api::code::Code;
    use sequencer_runtime::egress::{Args, EgressGuard};
    use sequencer_runtime::registry::{Digest, TYPES, trusted_client};
    use sequencer_runtime::section::Failure as _;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::error::Error;

    fn staging(url: &str) -> Result<Staging, StagingError> {
        let http = trusted_client(&EgressGuard::new(&Args::default()).unwrap()).unwrap();
        let login = Login::parse("user:password");
        Staging::new(http, url, login)
    }

    /// A registry below `/seq` that answers a request with what `answer` makes of its head, as long
    /// as the tasks are kept.
    async fn registry(answer: impl Fn(&str) -> String + Send + 'static) -> (Staging, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/seq", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut head, mut part) = (String::new(), [0; 1024]);
                while !head.contains("\r\n\r\n") {
                    let length = stream.read(&mut part).await.unwrap();
                    head.push_str(&String::from_utf8_lossy(&part[..length]));
                }
                let answer = format!("HTTP/1.1 {}", answer(&head));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (staging(&url).unwrap(), tasks)
    }

    /// An answer, after which the connection ends.
    fn answer(status: &str, header: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "{status}\r\n{header}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    fn descriptor(content: &str, size: usize) -> Value {
        let digest = Digest::of(content.as_bytes());
        json!({"mediaType": "x", "digest": digest.as_str(), "size": size})
    }

    /// Two images of one layer each, of 3 and of 4 bytes, and the index of both.
    fn images() -> [String; 3] {
        let [three, four] = [3, 4].map(|size| {
            let layers = [descriptor(&format!("layer of {size}"), size)];
            json!({"config": descriptor("config", 100), "layers": layers}).to_string()
        });
        let children = [&three, &four].map(|image| descriptor(image, image.len()));
        let index = json!({"mediaType": TYPES[0], "manifests": children}).to_string();
        [three, four, index]
    }

    #[tokio::test]
    async fn an_image_is_found_by_its_key_and_has_the_size_of_all_its_layers() {
        let [three, four, index] = images();
        let wanted = Staged {
            digest: Digest::of(index.as_bytes()).to_string(),
            media_type: TYPES[0].into(),
            size: 7,
        };
        let (staging, _tasks) = registry(move |head| {
            if !head.contains("authorization: Basic dXNlcjpwYXNzd29yZA==") {
                return answer("401 No", "www-authenticate: Basic realm=\"x\"", "");
            }
            let folder = format!("GET /v2/seq/{}/manifests/", names::staging("team", "k"));
            let reference = head
                .strip_prefix(&folder)
                .and_then(|rest| rest.split(' ').next());
            let all = [&three, &four, &index];
            let found = all.into_iter().find(|content| {
                let digest = Digest::of(content.as_bytes());
                reference == Some(digest.as_str())
            });
            match reference {
                Some(TAG) => answer("200 Yes", "content-type: text/plain", &index),
                _ => found.map_or_else(
                    || answer("404 No", "x: y", ""),
                    |content| answer("200 Yes", "x: y", content),
                ),
            }
        })
        .await;

        assert_eq!(staging.find("team", "k").await.unwrap(), Some(wanted));
        assert_eq!(staging.find("team", "other").await.unwrap(), None);
    }

    async fn code(staging: &Staging) -> Code {
        Error::from(staging.find("team", "k").await.unwrap_err()).code()
    }

    #[tokio::test]
    async fn whatever_it_answers_but_404_is_no_answer_to_what_it_has() {
        for (status, header, body) in [
            ("400 No", "x: y", ""),
            ("401 No", "x: y", ""),
            ("401 No", "www-authenticate: Basic realm=\"x\"", ""),
            ("403 No", "x: y", ""),
            ("429 No", "x: y", ""),
            ("503 No", "x: y", ""),
            ("200 Yes", "content-type: text/html", "<html>"),
            // Nothing says how this is to be read.
            ("200 Yes", "x: y", "{}"),
        ] {
            let (staging, _tasks) = registry(move |_| answer(status, header, body)).await;
            assert_eq!(
                code(&staging).await,
                Code::StagingUnavailable,
                "{status} {body}"
            );
        }

        let (staging, tasks) = registry(|_| String::new()).await;
        drop(tasks);
        assert_eq!(code(&staging).await, Code::StagingUnavailable);
    }

    #[tokio::test]
    async fn an_index_whose_images_are_not_there_or_are_others_is_refused() {
        let [three, _, index] = images();
        for (status, child) in [("404 No", String::new()), ("200 Yes", three)] {
            let index = index.clone();
            let (staging, _tasks) = registry(move |head| {
                if head.contains("/manifests/latest ") {
                    answer("200 Yes", "x: y", &index)
                } else {
                    answer(status, "x: y", &child)
                }
            })
            .await;
            assert_eq!(code(&staging).await, Code::StagingUnavailable, "{status}");
        }
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
