//! Registries of the test's own, and images in them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use lab::alone::Alone;
use lab::layout::text;
use lab::part::{Part, Ready};
use lab::testing::layout;
use rand::Rng as _;
use rcgen::{CertificateParams, Issuer, KeyPair};
use reqwest::Client;
use sequencer_runtime::registry::Digest;
use serde_json::{Value, json};

/// The user of every registry of the test's own.
pub(crate) const USER: &str = "tester";

pub(crate) struct Own {
    name: &'static str,
    pub(crate) address: SocketAddr,
    data: PathBuf,
    log: PathBuf,
}

impl Own {
    /// Starts one on this port, with TLS for all but staging.
    pub(crate) fn start(
        alone: &mut Alone,
        name: &'static str,
        port: u16,
        password: &str,
    ) -> Result<Self> {
        let address = SocketAddr::from((alone.address, port));
        let (data, etc) = (
            alone.folder().join("data").join(name),
            alone.folder().join("etc"),
        );
        std::fs::create_dir_all(&data)?;
        let users = etc.join(format!("{name}-htpasswd"));
        std::fs::write(&users, format!("{USER}:{}\n", bcrypt::hash(password, 4)?))?;
        let tls = match name {
            "staging" => json!({}),
            _ => certificate(alone, name).map(
                |(certificate, key)| json!({"certificate": text(certificate), "key": text(key)}),
            )?,
        };
        let http = json!({"addr": address.to_string(), "secret": "only a test", "tls": tls});
        let config = etc.join(format!("{name}.yaml"));
        let settings = json!({
            "version": "0.1", "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": text(&data)}, "delete": {"enabled": true}},
            "http": http, "auth": {"htpasswd": {"realm": name, "path": text(&users)}},
        });
        std::fs::write(&config, settings.to_string())?;
        let part = Part::new(
            name,
            layout()?.bin("registry"),
            ["serve".into(), text(&config)],
            Ready::Tcp(address),
        );
        alone.start(&part.env("OTEL_TRACES_EXPORTER", "none"))?;
        let log = alone.folder().join("logs").join(format!("{name}.log"));
        Ok(Self {
            name,
            address,
            data,
            log,
        })
    }

    /// How often it took something of this kind (`PUT /v2/x/manifests/`).
    pub(crate) fn took(&self, request: &str) -> Result<usize> {
        let log = std::fs::read_to_string(&self.log)?;
        Ok(log
            .lines()
            .filter(|line| line.contains(&format!("\"{request}")) && line.contains("\" 201 "))
            .count())
    }

    /// How many requests it answered.
    pub(crate) fn requests(&self) -> Result<usize> {
        Ok(std::fs::read_to_string(&self.log)?
            .lines()
            .filter(|line| line.contains(" HTTP/1.1\" "))
            .count())
    }

    /// Where a blob lies.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.as_str().trim_start_matches("sha256:");
        self.data
            .join("docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }

    /// Which of these it has.
    pub(crate) fn has(&self, digests: &[Digest]) -> usize {
        digests
            .iter()
            .filter(|digest| self.blob(digest).exists())
            .count()
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.name == "staging" {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}/v2/{path}", self.address)
    }
}

/// A certificate of the test CA for the address of all parts.
fn certificate(alone: &Alone, name: &str) -> Result<(PathBuf, PathBuf)> {
    let pki = |file: &str| alone.folder().join("pki").join(file);
    let authority = KeyPair::from_pem(&std::fs::read_to_string(pki("ca.key"))?)?;
    let issuer = Issuer::from_ca_cert_pem(&std::fs::read_to_string(pki("ca.crt"))?, authority)?;
    let key = KeyPair::generate()?;
    let signed = CertificateParams::new([alone.address.to_string()])?.signed_by(&key, &issuer)?;
    let (certificate_file, key_file) = (pki(&format!("{name}.crt")), pki(&format!("{name}.key")));
    std::fs::write(&certificate_file, signed.pem())?;
    std::fs::write(&key_file, key.serialize_pem())?;
    Ok((certificate_file, key_file))
}

/// A staged image and everything that it consists of.
pub(crate) struct Staged {
    pub(crate) digest: Digest,
    pub(crate) manifests: Vec<Digest>,
    pub(crate) blobs: Vec<Digest>,
}

/// Puts images into the staging registry.
pub(crate) struct Stage<'a> {
    pub(crate) http: &'a Client,
    pub(crate) staging: &'a Own,
    pub(crate) password: &'a str,
    pub(crate) path: &'a str,
}

impl Stage<'_> {
    /// An index of an image with so many random layers of so many bytes, and of what says how it
    /// was made.
    pub(crate) async fn index(&self, layers: usize, size: usize) -> Result<Staged> {
        let (mut manifests, mut blobs) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();

        for (layers, architecture) in [(layers, "amd64"), (1, "unknown")] {
            let contents: Vec<_> = (0..layers).map(|_| random(size)).collect();
            let (image, parts) = self.image(&contents).await?;

            entries.push(json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.0.as_str(), "size": image.1,
                "platform": {"os": if architecture == "unknown" { "unknown" } else { "linux" }, "architecture": architecture},
            }));
            manifests.push(image.0);
            blobs.extend(parts);
        }

        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        let (digest, _) = self.manifest(media_type, &index).await?;
        manifests.push(digest.clone());
        Ok(Staged {
            digest,
            manifests,
            blobs,
        })
    }

    /// An image of these layers: its manifest's digest and length, and its blobs.
    async fn image(&self, layers: &[Vec<u8>]) -> Result<((Digest, usize), Vec<Digest>)> {
        let config =
            json!({"architecture": "amd64", "os": "linux", "nonce": rand::rng().random::<u64>()})
                .to_string();
        let config_digest = self.blob(config.as_bytes()).await?;
        let mut blobs = vec![config_digest.clone()];
        let mut entries = Vec::new();
        for layer in layers {
            let digest = self.blob(layer).await?;
            entries.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.as_str(), "size": layer.len()}));
            blobs.push(digest);
        }
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "layers": entries,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.as_str(), "size": config.len()},
        });
        Ok((self.manifest(media_type, &manifest).await?, blobs))
    }

    async fn blob(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        let uploads = self.staging.url(&format!("{}/blobs/uploads/", self.path));
        let begun = self
            .http
            .post(uploads)
            .basic_auth(USER, Some(self.password))
            .send()
            .await?
            .error_for_status()?;
        let mut place: reqwest::Url = begun.headers()["location"].to_str()?.parse()?;
        place
            .query_pairs_mut()
            .append_pair("digest", digest.as_str());

        let put = self
            .http
            .put(place)
            .basic_auth(USER, Some(self.password))
            .body(content.to_vec());
        put.send().await?.error_for_status()?;
        Ok(digest)
    }

    async fn manifest(&self, media_type: &str, manifest: &Value) -> Result<(Digest, usize)> {
        let bytes = manifest.to_string();
        let digest = Digest::of(bytes.as_bytes());
        let url = self
            .staging
            .url(&format!("{}/manifests/{digest}", self.path));
        let length = bytes.len();
        let put = self
            .http
            .put(url)
            .basic_auth(USER, Some(self.password))
            .header("content-type", media_type);
        let answer = put.body(bytes).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok((digest, length))
    }
}

pub(crate) fn random(size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    rand::rng().fill(content.as_mut_slice());
    content
}
