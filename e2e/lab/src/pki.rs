//! The test CA and the certificates below it. Made once per state folder; keys never leave it.

use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::layout::{self, BRIDGE, BUILDS, CLUSTER_API, GENERAL, Layout, write_private};

const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const CA: &str = "ca";

/// The name of the CA's subject.
const CA_NAME: &str = "Sequencer test CA";

struct Leaf<'a> {
    file: &'a str,
    common_name: &'a str,
    organization: Option<&'a str>,
    names: Vec<String>,
}

impl<'a> Leaf<'a> {
    fn client(file: &'a str, common_name: &'a str, organization: Option<&'a str>) -> Self {
        Self {
            file,
            common_name,
            organization,
            names: Vec::new(),
        }
    }

    fn server(file: &'a str, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            file,
            common_name: file,
            organization: None,
            names: names.into_iter().map(Into::into).collect(),
        }
    }
}

/// Makes whatever is missing: the CA, every certificate of the cluster, the service accounts' key,
/// the bundle. The API server's certificate names these addresses too.
///
/// # Errors
/// A key cannot be made or a file cannot be written.
pub fn ensure(layout: &Layout, addresses: &[IpAddr]) -> Result<()> {
    std::fs::create_dir_all(layout.pki(""))?;
    std::fs::set_permissions(layout.pki(""), Permissions::from_mode(0o711))?;
    if !layout.pki("ca.crt").exists() {
        let key = KeyPair::generate()?;
        save(layout, CA, &ca_params().self_signed(&key)?.pem(), &key)?;
    }

    let key = KeyPair::from_pem(&std::fs::read_to_string(layout.pki("ca.key"))?)?;
    let issuer = Issuer::new(ca_params(), key);

    for leaf in leaves(addresses) {
        let names = layout.pki(&format!("{}.names", leaf.file));
        let wanted = leaf.names.join("\n");
        if std::fs::read_to_string(&names).ok().as_ref() != Some(&wanted) {
            sign(layout, &leaf, &issuer)
                .with_context(|| format!("cannot make the certificate {}", leaf.file))?;
            // Written last: a certificate is made anew until its names are known to be in it.
            write(&names, &wanted, 0o644)?;
        }
    }

    for name in ["service-accounts", "hub-tokens"] {
        if !layout.pki(&format!("{name}.key")).exists() {
            let key = KeyPair::generate()?;
            write(
                &layout.pki(&format!("{name}.pub")),
                &key.public_key_pem(),
                0o644,
            )?;
            write(
                &layout.pki(&format!("{name}.key")),
                &key.serialize_pem(),
                0o600,
            )?;
        }
    }

    let system = std::fs::read_to_string(SYSTEM_CERTIFICATES).with_context(|| {
        format!("cannot read {SYSTEM_CERTIFICATES}: apt-get install ca-certificates")
    })?;
    let own = std::fs::read_to_string(layout.pki("ca.crt"))?;
    let bundle = format!("{system}\n{own}");
    // A running cluster has the file mounted: it is left in its place unless it has to change.
    if std::fs::read_to_string(layout.ca_bundle()).is_ok_and(|old| old == bundle) {
        return Ok(());
    }

    write(&layout.ca_bundle(), &bundle, 0o644)
}

/// The same parameters every time, so that an issuer made from the key alone signs as the
/// certificate says.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    lifetime(&mut params);
    params
}

fn leaves(addresses: &[IpAddr]) -> Vec<Leaf<'static>> {
    let masters = Some("system:masters");
    let nodes = Some("system:nodes");
    let addresses = [GENERAL, BRIDGE, CLUSTER_API]
        .map(IpAddr::V4)
        .into_iter()
        .chain(addresses.iter().copied());
    let addresses = addresses.map(|address| address.to_string());
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let apiserver = service
        .map(Into::into)
        .into_iter()
        .chain(addresses)
        .chain(["127.0.0.1".into(), "localhost".into()]);
    let mut leaves = vec![
        Leaf::server("apiserver", apiserver),
        Leaf::client("admin", "admin", masters),
        Leaf::client("apiserver-kubelet", "apiserver", masters),
        Leaf::client("controller-manager", "system:kube-controller-manager", None),
        Leaf::client("scheduler", "system:kube-scheduler", None),
        Leaf::client("proxy", "system:kube-proxy", None),
        Leaf::client("kwok", "kwok", masters),
        Leaf {
            names: vec!["general".into(), GENERAL.to_string()],
            ..Leaf::client("kubelet-general", "system:node:general", nodes)
        },
        Leaf {
            names: vec!["builds".into(), BUILDS.to_string()],
            ..Leaf::client("kubelet-builds", "system:node:builds", nodes)
        },
        Leaf::server("ingress", ["*.preview.test", "preview.test"]),
        Leaf::server(
            "cloudflare",
            [
                "api.cloudflare.com",
                "*.yourdomain.com",
                "yourdomain.com",
                "region1.v2.argotunnel.com",
                "region2.v2.argotunnel.com",
            ],
        ),
    ];
    let servers = [
        ("hub", "registry-1.docker.io"),
        ("hub-auth", "auth.docker.io"),
        ("registry", "registry.test"),
        ("git", "github.com"),
    ];
    for (file, host) in servers {
        let names = layout::NAMES
            .iter()
            .map(|(_, names)| *names)
            .find(|names| names.contains(&host))
            .unwrap_or_default();
        leaves.push(Leaf::server(file, names.iter().copied()));
    }
    leaves
}

fn sign(layout: &Layout, leaf: &Leaf<'_>, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let mut params = CertificateParams::new(leaf.names.clone())?;
    params
        .distinguished_name
        .push(DnType::CommonName, leaf.common_name);

    if let Some(organization) = leaf.organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }

    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    lifetime(&mut params);
    let key = KeyPair::generate()?;
    save(
        layout,
        leaf.file,
        &params.signed_by(&key, issuer)?.pem(),
        &key,
    )
}

fn lifetime(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(3650);
}

/// The key first: a certificate without its key is never seen.
fn save(layout: &Layout, name: &str, certificate: &str, key: &KeyPair) -> Result<()> {
    write(
        &layout.pki(&format!("{name}.key")),
        &key.serialize_pem(),
        0o600,
    )?;
    write(&layout.pki(&format!("{name}.crt")), certificate, 0o644)
}

fn write(path: &Path, content: &str, mode: u32) -> Result<()> {
    write_private(path, content)?;
    Ok(std::fs::set_permissions(
        path,
        Permissions::from_mode(mode),
    )?)
}
