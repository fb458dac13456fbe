//! NATS as the chart installs it: who gets in, and what each identity may not do.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use data_encoding::BASE64;
use lab::cluster::Cluster;
use lab::release::{BUILDS, NAMESPACE};
use lab::testing::layout;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long NATS may take for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A way to NATS in the cluster; it ends with the value.
struct Way {
    cluster: Cluster,
    forward: Child,
    /// It goes on telling, and ends when nobody listens.
    _said: BufReader<ChildStdout>,
    url: String,
}

impl Way {
    fn open() -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let mut kubectl = cluster.layout.kubectl();
        kubectl.args(["-n", NAMESPACE, "port-forward", "service/nats", ":4222"]);

        let mut forward = kubectl
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut line = String::new();
        let mut said = BufReader::new(forward.stdout.take().context("no stdout")?);
        said.read_line(&mut line)?;

        let address = line
            .split_whitespace()
            .nth(2)
            .with_context(|| format!("port-forward says {line:?}"))?;
        let url = format!("tls://{address}");

        Ok(Self {
            cluster,
            forward,
            _said: said,
            url,
        })
    }

    /// The Secret of an identity, as PEM files by name.
    fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<impl Fn(&str) -> Result<Vec<u8>> + use<>> {
        let secret = self
            .cluster
            .kubectl(&["-n", namespace, "get", "secret", name, "-o", "json"])?;
        let secret: Value = serde_json::from_str(&secret)?;

        Ok(move |file: &str| {
            let encoded = secret
                .pointer("/data")
                .and_then(|data| data.get(file))
                .and_then(Value::as_str);
            Ok(BASE64.decode(encoded.context("no such key")?.as_bytes())?)
        })
    }

    /// Connects as `user`, or without a certificate, and collects what NATS complains about.
    async fn connect(&self, user: Option<&str>) -> Result<(Client, UnboundedReceiver<String>)> {
        let namespace = |user: &str| {
            if user.starts_with("builder-") {
                BUILDS
            } else {
                NAMESPACE
            }
        };
        let mut roots = RootCertStore::empty();
        let authority = self.secret(NAMESPACE, "nats-server")?;
        roots.add(CertificateDer::from_pem_slice(&authority("ca.crt")?)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
                .build()?;
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Forwarded(inner)));
        let config = match user {
            Some(user) => {
                let files = self.secret(namespace(user), &format!("nats-{user}"))?;
                let certificate = CertificateDer::from_pem_slice(&files("tls.crt")?)?;
                config.with_client_auth_cert(
                    vec![certificate],
                    PrivateKeyDer::from_pem_slice(&files("tls.key")?)?,
                )?
            }
            None => config.with_no_client_auth(),
        };
        let (complaints, heard) = unbounded_channel();
        let service = user
            .unwrap_or_default()
            .split("-default")
            .next()
            .unwrap_or_default()
            .to_owned();
        let options = ConnectOptions::new()
            .tls_client_config(config)
            .custom_inbox_prefix(format!("_INBOX_{service}"))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    drop(complaints.send(error.to_string()));
                }
                std::future::ready(())
            });
        let client = tokio::time::timeout(PATIENCE, options.connect(&self.url)).await??;
        Ok((client, heard))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        drop(self.forward.kill());
        drop(self.forward.wait());
    }
}

/// Verifies the server under its name in the cluster: here it is at the end of a forwarded port.
#[derive(Debug)]
struct Forwarded(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Forwarded {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = ServerName::try_from(format!("nats.{NAMESPACE}.svc"))
            .map_err(|error| Error::General(error.to_string()))?;
        self.0.verify_server_cert(end, between, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const USERS: [&str; 5] = [
    "watcher",
    "registry-pusher",
    "network",
    "deployer",
    "builder-default",
];

/// What a stolen key of `user` would be used for: subjects to publish to.
fn attacks(user: &str) -> Vec<String> {
    let other = if user == "deployer" {
        "network"
    } else {
        "deployer"
    };
    // A builder pulls what is its own pool's, and nobody else anything of a pool.
    let pool = if user == "builder-default" {
        "large"
    } else {
        "default"
    };
    let uid = "00000000-0000-0000-0000-000000000000";
    let mut attacks = vec![
        format!("$JS.ACK.SEQ_CMD.{other}.1.1.1.1.0"),
        format!("$JS.API.CONSUMER.MSG.NEXT.SEQ_CMD.{other}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.SEQ_CMD.builder-{pool}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.SEQ_CMD.resolver-{pool}"),
        format!("$JS.ACK.SEQ_CMD.resolver-{pool}.1.1.1.1.0"),
        format!("seq.v1.evt.{uid}.{other}.component.{uid}"),
        "$JS.API.STREAM.PURGE.SEQ_CMD".into(),
        "$JS.API.STREAM.DELETE.SEQ_LOG".into(),
    ];
    if user != "watcher" {
        attacks.push(format!("seq.v1.cmd.{other}.deploy._.{uid}.component.{uid}"));
    }
    if !user.starts_with("builder-") {
        attacks.push(format!("seq.v1.log.{uid}.{uid}"));
    }
    attacks
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_in() -> Result<()> {
    let way = Way::open()?;
    way.connect(Some("watcher")).await?;
    ensure!(
        way.connect(None).await.is_err(),
        "NATS took a client without a certificate"
    );
    Ok(())
}

#[tokio::test]
async fn no_identity_does_what_is_anothers() -> Result<()> {
    let way = Way::open()?;

    for user in USERS {
        let (client, mut complaints) = way.connect(Some(user)).await?;
        let mut refused = async |subject: &str| -> Result<()> {
            let said = tokio::time::timeout(PATIENCE, complaints.recv()).await;
            let said = said
                .with_context(|| format!("{user} was let {subject}"))?
                .context("disconnected")?;
            let (said, wanted) = (said.to_lowercase(), subject.to_lowercase());

            ensure!(
                said.contains("permissions violation") && said.contains(&wanted),
                "{user}, {subject}: {said}"
            );
            Ok(())
        };

        for subject in attacks(user) {
            client.publish(subject.clone(), "".into()).await?;
            client.flush().await?;
            refused(&subject).await?;
        }

        let tapped = ["seq.v1.cmd.>", "_INBOX.>", "_INBOX_nobody.>", "$JS.ACK.>"];
        for subject in tapped {
            let _tap = client.subscribe(subject).await?;
            client.flush().await?;
            refused(subject).await?;
        }
    }

    Ok(())
}
