//! Docker Hub's token service for a registry of our own: anonymous pull, login for push. It follows
//! Distribution's token authentication specification, with `GET` and with the OAuth 2 `POST` that
//! containerd and BuildKit try first.

mod grant;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json, Router, routing::get};
use axum_server::tls_rustls::RustlsConfig;
use clap::Parser;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;

use crate::grant::Accounts;
use crate::token::{LIFETIME, Signer};

/// A stand-in for Docker Hub's token service.
#[derive(Debug, Parser)]
struct Args {
    /// Where to serve https.
    #[arg(long)]
    listen: SocketAddr,
    /// The certificate chain in PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// Its key.
    #[arg(long)]
    certificate_key: PathBuf,
    /// The P-256 key that signs tokens, PKCS#8 in PEM.
    #[arg(long)]
    signing_key: PathBuf,
    /// The issuer that the registry expects.
    #[arg(long)]
    issuer: String,
    /// `{"<name>": {"password": "...", "push": ["<name>/*"]}}` in JSON.
    #[arg(long)]
    accounts: PathBuf,
}

struct Service {
    accounts: Accounts,
    signer: Signer,
}

/// What is asked for, by query or by form.
#[derive(Debug, Default, Deserialize)]
struct Ask {
    #[serde(default)]
    service: String,
    #[serde(default)]
    scope: String,
    username: Option<String>,
    password: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();

    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("a TLS provider is installed already")?;

    let accounts = std::fs::read(&args.accounts)
        .with_context(|| format!("cannot read {}", args.accounts.display()))?;
    let service = Service {
        accounts: serde_json::from_slice(&accounts).context("the accounts are not as expected")?,
        signer: Signer::new(&std::fs::read(&args.signing_key)?, args.issuer)?,
    };

    let routes = Router::new()
        .route("/token", get(by_query).post(by_form))
        .with_state(Arc::new(service));
    let tls = RustlsConfig::from_pem_file(args.certificate, args.certificate_key).await?;

    axum_server::bind_rustls(args.listen, tls)
        .serve(routes.into_make_service())
        .await?;
    Ok(())
}

async fn by_query(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut ask = Ask::default();
    let mut scopes = Vec::new();

    for (name, value) in form_pairs(query.unwrap_or_default().as_bytes()) {
        match name.as_str() {
            "service" => ask.service = value,
            "scope" => scopes.push(value),
            _ => {}
        }
    }

    if let Some((name, password)) = basic(&headers) {
        (ask.username, ask.password) = (Some(name), Some(password));
    }

    service.answer(&ask, &scopes)
}

async fn by_form(State(service): State<Arc<Service>>, Form(ask): Form<Ask>) -> Response {
    let scopes = [ask.scope.clone()];
    service.answer(&ask, &scopes)
}

/// The name and password of a Basic authorization (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let plain = String::from_utf8(BASE64.decode(value.as_bytes()).ok()?).ok()?;
    let (name, password) = plain.split_once(':')?;
    Some((name.into(), password.into()))
}

/// Pairs of a query, of which a name may come more than once.
fn form_pairs(query: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(query).into_owned().collect()
}

impl Service {
    fn answer(&self, ask: &Ask, scopes: &[String]) -> Response {
        let account = match (&ask.username, &ask.password) {
            (Some(name), Some(password)) if !self.accounts.accept(name, password) => {
                return (
                    StatusCode::UNAUTHORIZED,
                    Json(json!({"details": "incorrect username or password"})),
                )
                    .into_response();
            }
            (Some(name), Some(_)) => Some(name.as_str()),
            _ => None,
        };

        let access = self.accounts.grant(account, scopes);
        match self.signer.sign(account.unwrap_or_default(), &ask.service, &access) {
            Ok(token) => {
                Json(json!({"token": token, "access_token": token, "scope": scopes.join(" "), "expires_in": LIFETIME.as_secs()}))
                    .into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}
