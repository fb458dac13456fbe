//! Two Distributions: one plays Docker Hub under its own names, with a token service; the other is
//! a company's own.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use minijinja::{Value, context};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::json;

use crate::layout::{COMPANY_REGISTRY, HUB, HUB_AUTH, Layout, at, text, write_private};
use crate::part::{Part, Ready};
use crate::secrets::Secrets;

/// The user of `registry.test`.
pub const COMPANY_USER: &str = "company";
/// The user of Docker Hub in the sample Workspace.
pub const HUB_USER: &str = "myuser";
const PUBLISHER: &str = "publisher";

/// Both registries and the token service.
///
/// # Errors
/// A configuration file cannot be written.
pub fn parts(layout: &Layout, secrets: &Secrets) -> Result<Vec<Part>> {
    Ok(vec![
        tokens(layout, secrets)?,
        hub(layout, secrets)?,
        company(layout, secrets)?,
    ])
}

fn tokens(layout: &Layout, secrets: &Secrets) -> Result<Part> {
    let accounts = layout.etc().join("hub-accounts.json");
    let value = json!({
        HUB_USER: {"password": secrets.hub_password, "push": [format!("{HUB_USER}/*")]},
        PUBLISHER: {"password": secrets.publisher_password, "push": ["*"]},
    });
    write_private(&accounts, value.to_string())?;

    let args = [
        format!("--listen={}", at(HUB_AUTH, 443)),
        format!("--certificate={}", text(layout.pki("hub-auth.crt"))),
        format!("--certificate-key={}", text(layout.pki("hub-auth.key"))),
        format!("--signing-key={}", text(layout.pki("hub-tokens.key"))),
        "--issuer=auth.docker.io".into(),
        format!("--accounts={}", text(&accounts)),
    ];

    Part::new(
        "hub-tokens",
        layout.bin("hub-tokens"),
        args,
        Ready::Tcp(at(HUB_AUTH, 443)),
    )
    .reads([accounts, layout.pki("hub-auth.crt")])
}

fn hub(layout: &Layout, secrets: &Secrets) -> Result<Part> {
    let jwks = layout.etc().join("hub-jwks.json");
    std::fs::write(
        &jwks,
        key_set(&std::fs::read_to_string(layout.pki("hub-tokens.key"))?)?,
    )?;
    let publisher = layout.etc().join("publisher");
    std::fs::create_dir_all(&publisher)?;
    write_private(
        &publisher.join("config.json"),
        login(
            "registry-1.docker.io",
            PUBLISHER,
            &secrets.publisher_password,
        ),
    )?;
    distribution(
        layout,
        secrets,
        "hub",
        HUB,
        &jwks,
        context! { jwks => text(&jwks) },
    )
}

fn company(layout: &Layout, secrets: &Secrets) -> Result<Part> {
    let htpasswd = layout.etc().join("registry-htpasswd");
    let old = std::fs::read_to_string(&htpasswd).unwrap_or_default();
    let hash = old
        .trim()
        .strip_prefix(&format!("{COMPANY_USER}:"))
        .unwrap_or_default();
    // A hash has a salt: it is kept as long as it is the password's.
    if !bcrypt::verify(&secrets.registry_password, hash).unwrap_or(false) {
        let hash = bcrypt::hash(&secrets.registry_password, 6)?;
        write_private(&htpasswd, format!("{COMPANY_USER}:{hash}\n"))?;
    }

    let auth = context! { jwks => Value::from(()), htpasswd => text(&htpasswd) };
    distribution(
        layout,
        secrets,
        "registry",
        COMPANY_REGISTRY,
        &htpasswd,
        auth,
    )
}

/// `users` is the file by which it knows them.
fn distribution(
    layout: &Layout,
    secrets: &Secrets,
    name: &str,
    address: Ipv4Addr,
    users: &Path,
    auth: Value,
) -> Result<Part> {
    let data = layout.data(name);
    std::fs::create_dir_all(&data)?;
    let certificate = layout.pki(&format!("{name}.crt"));
    let values = context! {
        data => text(data), address => address.to_string(), secret => secrets.registry_secret,
        certificate => text(&certificate), key => text(layout.pki(&format!("{name}.key"))),
        ..auth
    };

    let config = layout.configure(&format!("{name}.yaml"), "distribution.yaml", values)?;
    Part::new(
        name,
        layout.bin("registry"),
        ["serve".into(), text(&config)],
        Ready::Tcp(at(address, 443)),
    )
    .env("OTEL_TRACES_EXPORTER", "none")
    .reads([config.as_path(), users, &certificate])
}

/// The public half of a P-256 key as a JSON Web Key Set (RFC 7517).
fn key_set(pem: &str) -> Result<String> {
    let key = KeyPair::from_pem(pem)?;
    let point = key.der_bytes();
    let (x, y) = (
        point.get(1..33).context("a key that is not on P-256")?,
        point.get(33..65).context("a key that is not on P-256")?,
    );
    let coordinate = |bytes| BASE64URL_NOPAD.encode(bytes);
    let key = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "hub-tokens", "x": coordinate(x), "y": coordinate(y)});
    Ok(json!({"keys": [key]}).to_string())
}

/// A `config.json` with one login, as Docker's clients read it from the folder DOCKER_CONFIG.
#[must_use]
pub fn login(host: &str, user: &str, password: &str) -> String {
    let login = BASE64.encode(format!("{user}:{password}").as_bytes());
    json!({"auths": {host: {"auth": login}}}).to_string()
}
