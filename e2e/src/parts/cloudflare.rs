//! The stand-in for Cloudflare: its API, its name servers and its edge.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;

use crate::install::rust::sibling;
use crate::layout::{CLOUDFLARE_API, CLOUDFLARE_EDGE, Layout, at, text};
use crate::part::{Part, Ready};
use crate::secrets::Secrets;

/// The zone that the account owns.
pub const ZONE: &str = "yourdomain.com";
/// The port of the counters and faults, beside the API.
pub const ADMIN_PORT: u16 = 8080;

/// The part.
///
/// # Errors
/// The token's file cannot be written.
pub fn part(layout: &Layout, secrets: &Secrets) -> Result<Part> {
    let token = layout.etc().join("cloudflare-token");
    std::fs::write(&token, &secrets.cloudflare_token)?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    let args = [
        "--api".into(),
        at(CLOUDFLARE_API, 443).to_string(),
        "--admin".into(),
        at(CLOUDFLARE_API, ADMIN_PORT).to_string(),
        "--dns".into(),
        at(CLOUDFLARE_EDGE, 53).to_string(),
        "--tunnel".into(),
        at(CLOUDFLARE_EDGE, 7844).to_string(),
        "--edge-http".into(),
        at(CLOUDFLARE_EDGE, 80).to_string(),
        "--edge-https".into(),
        at(CLOUDFLARE_EDGE, 443).to_string(),
        "--edge-address".into(),
        CLOUDFLARE_EDGE.to_string(),
        "--tls-cert".into(),
        text(layout.pki("cloudflare.crt")),
        "--tls-key".into(),
        text(layout.pki("cloudflare.key")),
        "--token-file".into(),
        text(&token),
        "--state".into(),
        text(layout.data("cloudflare.json")),
        "--account".into(),
        secrets.cloudflare_account.clone(),
        "--zone".into(),
        ZONE.into(),
    ];
    Part::new("cloudflare", sibling("cloudflare")?, args, Ready::Tcp(at(CLOUDFLARE_API, 443)))
        .reads([token, layout.pki("cloudflare.crt")])
}
