//! Passwords and tokens of the cluster: random, made once per state folder, readable by root alone.

use anyhow::{Context as _, Result};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, write_private};

/// Every secret that a test or a person may need.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Docker Hub: the password of `myuser`, who pushes to `myuser/*`.
    pub hub_password: String,
    /// Docker Hub: the password of `publisher`, who pushes everywhere; `up` itself uses it.
    pub publisher_password: String,
    /// `registry.test`: the password of `company`.
    pub registry_password: String,
    /// github.com: the token of `myuser`.
    pub git_token: String,
    /// The TSIG key `seq` of `preview.test`, as in named.conf: base64 of 32 bytes.
    pub tsig: String,
    /// Cloudflare: the account's id, 32 hex digits.
    pub cloudflare_account: String,
    /// Cloudflare: the API token.
    pub cloudflare_token: String,
    /// What the registries sign their upload states with.
    pub registry_secret: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// The state folder's secrets; they are made if there are none.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub fn ensure(layout: &Layout) -> Result<Self> {
        let file = layout.state.join("secrets.json");
        if let Ok(text) = std::fs::read(&file) {
            return serde_json::from_slice(&text).with_context(|| {
                format!(
                    "{} is of another version: e2e/down --purge, then e2e/up",
                    file.display()
                )
            });
        }

        let secrets = Self {
            hub_password: random(24),
            publisher_password: random(24),
            registry_password: random(24),
            git_token: format!("ghp_{}", random(36)),
            // 43 letters and digits and a pad are base64 of 32 bytes; the last letter may carry
            // only two bits.
            tsig: format!("{}A=", random(42)),
            cloudflare_account: format!("{:032x}", rand::rng().random::<u128>()),
            cloudflare_token: random(40),
            registry_secret: random(32),
        };

        write_private(&file, serde_json::to_vec_pretty(&secrets)?)?;
        Ok(secrets)
    }
}

fn random(length: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}
