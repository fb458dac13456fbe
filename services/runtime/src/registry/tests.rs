//! Registries that lie.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::egress::Args;

/// A server that answers each request as `answer` says, by its head and by how many came before.
struct Liar {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Liar {
    async fn new(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut tasks) = (Arc::clone(&heads), JoinSet::new());

        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut head, mut part) = (String::new(), [0; 1024]);
                while !head.contains("\r\n\r\n") {
                    let length = stream.read(&mut part).await.unwrap();
                    head.push_str(&String::from_utf8_lossy(&part[..length]));
                }

                let before = seen.lock().unwrap().len();
                seen.lock().unwrap().push(head.clone());
                let reply = format!("HTTP/1.1 {}", answer(&head, before));
                let reply = reply.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });

        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }

    /// A repository there. With `allowed` it is a user's, and reaches these ranges.
    fn registry(&self, login: Option<Login>, allowed: Option<&str>) -> Registry {
        let settings = allowed.map(|range| Args {
            ca_bundle: None,
            egress_allowed: vec![range.parse().unwrap()],
        });
        let egress = EgressGuard::new(&settings.clone().unwrap_or_default()).unwrap();
        let base = format!("http://{}/v2/app/", self.address).parse().unwrap();
        let http = client(&egress).unwrap();
        let access = Access::new(login, "repository:app:pull,push".into());

        Registry {
            http,
            egress: settings.map(|_| egress),
            base,
            access,
        }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn login() -> Option<Login> {
    Some(Login {
        username: "u".into(),
        password: "SEQCANARY".into(),
    })
}

/// An answer without content.
fn bare(status: &str, header: &str) -> String {
    format!("{status}\r\n{header}\r\ncontent-length: 0\r\n\r\n")
}

fn bearer(realm: &str) -> String {
    bare(
        "401 No",
        &format!("www-authenticate: Bearer realm=\"{realm}\",service=\"s\""),
    )
}

fn digest() -> Digest {
    Digest::of(b"content")
}

#[tokio::test]
async fn a_token_service_at_a_private_address_or_without_https_gets_no_password() {
    for (realm, denied) in [
        ("https://169.254.169.254/token", true),
        ("http://127.0.0.2:9/token", false),
    ] {
        let liar = Liar::new(move |_, _| bearer(realm)).await;
        let fault = liar
            .registry(login(), Some("127.0.0.0/8"))
            .has_blob(&digest())
            .await
            .unwrap_err();
        assert_eq!(matches!(fault, Fault::Denied(_)), denied, "{fault:?}");
        assert!(denied || matches!(fault, Fault::Protocol(_)), "{fault:?}");
        assert_eq!(liar.heads().len(), 1);
        assert!(!format!("{fault:?} {:?}", liar.heads()).contains("authorization"));
    }
}

#[tokio::test]
async fn a_place_to_upload_to_is_looked_at_before_it_is_used() {
    for (place, denied) in [
        ("https://10.0.0.1/x", true),
        ("http://127.0.0.2:9/x", false),
        ("file:///etc", false),
    ] {
        let liar = Liar::new(move |_, _| bare("202 Go", &format!("location: {place}"))).await;
        let content = stream::iter([Ok(Bytes::from_static(b"content"))]);
        let fault = liar
            .registry(None, Some("127.0.0.0/8"))
            .put_blob(&digest(), 7, content)
            .await
            .unwrap_err();
        assert_eq!(matches!(fault, Fault::Denied(_)), denied, "{fault:?}");
        assert!(denied || matches!(fault, Fault::Protocol(_)), "{fault:?}");
    }
}

#[tokio::test]
async fn a_registry_that_sends_in_a_circle_is_followed_three_times() {
    let liar = Liar::new(|_, _| bare("307 There", "location: /v2/app/blobs/again")).await;
    let fault = liar
        .registry(None, None)
        .has_blob(&digest())
        .await
        .unwrap_err();
    assert!(matches!(fault, Fault::Protocol(_)), "{fault:?}");
    assert_eq!(liar.heads().len(), REDIRECTS + 1);
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_refused_and_a_long_one_is_not_read() {
    let liar = Liar::new(|_, _| "200 Yes\r\ncontent-length: 5\r\n\r\nother".into()).await;
    assert!(matches!(
        liar.registry(None, None).manifest(&digest()).await,
        Err(Fault::Digest)
    ));
    let liar =
        Liar::new(|_, _| format!("200 Yes\r\nx: y\r\n\r\n{}", "x".repeat(LONGEST + 1))).await;
    assert!(matches!(
        liar.registry(None, None).manifest(&digest()).await,
        Err(Fault::Protocol(_))
    ));
    // Without the digest's header the content tells it.
    let liar = Liar::new(|_, _| "200 Yes\r\ncontent-length: 7\r\n\r\ncontent".into()).await;
    assert_eq!(
        liar.registry(None, None).digest_of("dev").await.unwrap(),
        Some(digest())
    );
}

#[tokio::test]
async fn what_a_tag_points_to_has_the_digest_of_its_content() {
    let liar = Liar::new(|head, _| {
        if head.starts_with("GET /v2/app/manifests/dev ") {
            let header = format!("content-type: {}; charset=utf-8", TYPES[0]);
            format!("200 Yes\r\n{header}\r\ncontent-length: 7\r\n\r\ncontent")
        } else {
            bare("404 No", "x: y")
        }
    })
    .await;
    let registry = liar.registry(None, None);
    assert_eq!(
        registry.find_manifest("dev").await.unwrap(),
        Some(Manifest {
            digest: digest(),
            media_type: TYPES[0].into(),
            bytes: b"content".to_vec(),
        })
    );
    assert_eq!(registry.find_manifest("other").await.unwrap(), None);
}

#[tokio::test]
async fn a_trusted_registry_may_be_below_a_path_and_no_name_leads_out_of_it() {
    let http = client(&EgressGuard::new(&Args::default()).unwrap()).unwrap();
    let base = |url: &str, path: &str| {
        let registry = Registry::trusted(&http, &url.parse().unwrap(), path, None);
        registry.map(|registry| registry.base.to_string())
    };

    for (url, wanted) in [
        ("http://r.test:5000", "http://r.test:5000/v2/b/x/"),
        ("https://r.test/", "https://r.test/v2/b/x/"),
        ("https://r.test/seq/", "https://r.test/v2/seq/b/x/"),
    ] {
        assert_eq!(base(url, "b/x").unwrap(), wanted);
    }

    for path in ["", "/b", "../b", "b/%2e%2e", "b?x", "B"] {
        let fault = base("https://r.test/seq", path).unwrap_err();
        assert!(matches!(fault, Fault::Missing), "{path}: {fault:?}");
    }
}

#[tokio::test]
async fn a_trusted_registry_gets_the_login_with_the_first_request() {
    let liar = Liar::new(|_head, _before| bare("404 No", "x: y")).await;
    let http = client(&EgressGuard::new(&Args::default()).unwrap()).unwrap();
    let url = format!("http://{}", liar.address).parse().unwrap();
    let registry = Registry::trusted(&http, &url, "app", login()).unwrap();

    assert_eq!(registry.find_manifest("latest").await.unwrap(), None);
    let heads = liar.heads();
    assert!(heads.len() == 1 && heads[0].contains("Basic "), "{heads:?}");
}

#[tokio::test]
async fn one_token_serves_many_requests_and_is_renewed_when_it_is_over() {
    let liar = Liar::new(|head, before| {
        if head.starts_with("GET /token") {
            let token = format!(r#"{{"token": "t{before}", "expires_in": 300}}"#);
            return format!("200 Yes\r\ncontent-length: {}\r\n\r\n{token}", token.len());
        }
        let realm = head
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or_default();
        // The first token is good for three requests.
        if before < 4 && head.contains("Bearer t1") || head.contains("Bearer t5") {
            bare("200 Yes", "x: y")
        } else {
            bearer(&format!("http://{realm}/token"))
        }
    })
    .await;
    let registry = liar.registry(login(), None);
    for _ in 0..4 {
        assert!(registry.has_blob(&digest()).await.unwrap());
    }
    let heads = liar.heads();
    let tokens: Vec<_> = heads
        .iter()
        .filter(|head| head.starts_with("GET /token"))
        .collect();
    assert_eq!(tokens.len(), 2, "{heads:?}");
    assert!(tokens.iter().all(
        |head| head.contains("scope=repository%3Aapp%3Apull%2Cpush") && head.contains("Basic ")
    ));
    // The password goes to the token service alone.
    assert_eq!(
        heads.iter().filter(|head| head.contains("Basic ")).count(),
        2
    );
}

#[tokio::test]
async fn a_refused_login_is_asked_for_once_and_what_it_says_is_not_repeated() {
    let liar = Liar::new(|_, _| "403 No\r\ncontent-length: 9\r\n\r\nSEQCANARY".into()).await;
    let fault = liar
        .registry(login(), None)
        .has_blob(&digest())
        .await
        .unwrap_err();

    assert!(
        matches!(fault, Fault::Refused(StatusCode::FORBIDDEN))
            && !format!("{fault:?}").contains("SEQCANARY")
    );

    let liar = Liar::new(|_, _| bare("401 No", "www-authenticate: Basic realm=\"x\"")).await;
    let registry = liar.registry(login(), None);

    assert!(matches!(
        registry.has_blob(&digest()).await,
        Err(Fault::Refused(StatusCode::UNAUTHORIZED))
    ));
    assert_eq!(liar.heads().len(), 2);
    assert!(!format!("{registry:?}").contains("SEQCANARY"));
}
