//! The stand-in for Cloudflare: its API, its name servers and its edge.

use anyhow::Result;

use crate::layout::{CLOUDFLARE_API, CLOUDFLARE_EDGE, Layout, at, text, write_private};
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
    write_private(&token, &secrets.cloudflare_token)?;

    let args = [
        format!("--api={}", at(CLOUDFLARE_API, 443)),
        format!("--admin={}", at(CLOUDFLARE_API, ADMIN_PORT)),
        format!("--dns={}", at(CLOUDFLARE_EDGE, 53)),
        format!("--tunnel={}", at(CLOUDFLARE_EDGE, 7844)),
        format!("--edge-http={}", at(CLOUDFLARE_EDGE, 80)),
        format!("--edge-https={}", at(CLOUDFLARE_EDGE, 443)),
        format!("--edge-address={CLOUDFLARE_EDGE}"),
        format!("--tls-cert={}", text(layout.pki("cloudflare.crt"))),
        format!("--tls-key={}", text(layout.pki("cloudflare.key"))),
        format!("--token-file={}", text(&token)),
        format!("--state={}", text(layout.data("cloudflare.json"))),
        format!("--account={}", secrets.cloudflare_account),
        format!("--zone={ZONE}"),
    ];

    Part::new(
        "cloudflare",
        layout.bin("cloudflare"),
        args,
        Ready::Tcp(at(CLOUDFLARE_API, 443)),
    )
    .reads([token, layout.pki("cloudflare.crt")])
}
