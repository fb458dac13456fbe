//! Signed tokens. A JWT with one fixed algorithm is ten lines over `ring`, which every program here
//! has already; the JWT libraries bring a second set of cryptography.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use data_encoding::BASE64URL_NOPAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;

use crate::grant::Access;

/// How long a token is good for.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);
/// The key's id in the key set that the registry trusts.
const KEY_ID: &str = "hub-tokens";

/// Signs tokens for one registry service.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    issuer: String,
}

impl Signer {
    /// A signer with a P-256 key in PKCS#8 PEM.
    pub(crate) fn new(pem: &[u8], issuer: String) -> Result<Self> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem).context("the key is not PKCS#8 in PEM")?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            der.secret_pkcs8_der(),
            &random,
        )
        .map_err(|error| anyhow!("the key is not on P-256: {error}"))?;

        Ok(Self {
            key,
            random,
            issuer,
        })
    }

    /// A token (RFC 7519, ES256) for `service` with this access.
    pub(crate) fn sign(&self, subject: &str, service: &str, access: &[Access]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let header = json!({"typ": "JWT", "alg": "ES256", "kid": KEY_ID});
        let claims = json!({
            "iss": self.issuer, "sub": subject, "aud": service, "jti": uuid::Uuid::new_v4().to_string(),
            "iat": now.as_secs(), "nbf": now.as_secs().saturating_sub(10), "exp": (now + LIFETIME).as_secs(),
            "access": access,
        });
        let signed = format!(
            "{}.{}",
            BASE64.encode(header.to_string().as_bytes()),
            BASE64.encode(claims.to_string().as_bytes())
        );
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|error| anyhow!("cannot sign: {error}"))?;
        Ok(format!("{signed}.{}", BASE64.encode(signature.as_ref())))
    }
}
