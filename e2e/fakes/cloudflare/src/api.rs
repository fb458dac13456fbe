//! The API under `/client/v4`: what stands before every call, and the routes.
mod auth;
mod configurations;
mod envelope;
mod records;
mod tunnels;
mod zones;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use hyper::{body::Incoming, service::service_fn};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use self::envelope::{Problem, ok};
use crate::{clock, cloud::Cloud, faults::Fault, limit::Exceeded, listen, tasks::Tasks};

const BASE: &str = "/client/v4";

/// Stands in a request: lists hide what is younger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag(Duration);

impl Lag {
    fn shows(self, created: jiff::Timestamp) -> bool {
        let age = clock::now().duration_since(created);
        age.unsigned_abs() >= self.0
    }
}

/// Stands in an answer that must not reach the caller.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is lost, as a fault asked")]
struct Lost;

pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    cloud: Arc<Cloud>,
    tasks: Tasks,
) {
    let router = router(cloud);
    listen::http(listener, Some(tls), tasks, |_peer: SocketAddr| {
        let router = router.clone();
        service_fn(move |request: hyper::Request<Incoming>| {
            let router = router.clone();
            async move {
                let response = match router.oneshot(request.map(axum::body::Body::new)).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                match response.extensions().get::<Lost>() {
                    Some(lost) => Err(*lost),
                    None => Ok(response),
                }
            }
        })
    })
    .await;
}

fn router(cloud: Arc<Cloud>) -> Router {
    let tunnel = "/accounts/{account_id}/cfd_tunnel/{tunnel_id}";
    let records = "/zones/{zone_id}/dns_records";
    let routes = Router::new()
        .route("/user/tokens/verify", get(auth::verify))
        .route(
            "/accounts/{account_id}/tokens/verify",
            get(auth::verify_account),
        )
        .route(
            "/accounts/{account_id}/cfd_tunnel",
            get(tunnels::list).post(tunnels::create),
        )
        .route(
            tunnel,
            get(tunnels::get)
                .delete(tunnels::delete)
                .patch(tunnels::rename),
        )
        .route(&format!("{tunnel}/token"), get(tunnels::token))
        .route(
            &format!("{tunnel}/connections"),
            get(tunnels::connections).merge(delete(tunnels::cut)),
        )
        .route(
            &format!("{tunnel}/configurations"),
            get(configurations::get).put(configurations::put),
        )
        .route("/zones", get(zones::list))
        .route("/zones/{zone_id}", get(zones::get))
        .route(records, get(records::list).post(records::create))
        .route(
            &format!("{records}/{{record_id}}"),
            get(records::get)
                .patch(records::patch)
                .put(records::put)
                .delete(records::delete),
        );

    Router::new()
        .nest(BASE, routes)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(cloud.clone(), guard))
        .with_state(cloud)
}

async fn unknown(request: Request) -> Problem {
    let path = request
        .uri()
        .path()
        .strip_prefix(BASE)
        .unwrap_or_default()
        .to_owned();
    Problem::new(
        StatusCode::NOT_FOUND,
        7003,
        format!("Could not route to {path}, perhaps your object identifier is invalid?"),
    )
    .because(7000, "No route for that URI")
}

async fn not_allowed(method: Method) -> Problem {
    let message = format!("{method} method not allowed for the api_token authentication scheme");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, 10405, message)
}

/// Counts the call, lets faults strike, asks for the token and keeps the rate limit.
async fn guard(State(cloud): State<Arc<Cloud>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let template = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown", MatchedPath::as_str);

    cloud.counters.call(
        method.as_str(),
        template.strip_prefix(BASE).unwrap_or(template),
    );

    let path = request
        .uri()
        .path()
        .strip_prefix(BASE)
        .unwrap_or_default()
        .to_owned();
    let fault = cloud
        .faults
        .strike(method.as_str(), &path)
        .unwrap_or_default();

    tracing::debug!(%method, path, "an API call");

    if let Some(delay) = fault.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }

    let mut response = match fault.status {
        Some(status) => refused(&fault, status),
        None => {
            answer(
                &cloud,
                request,
                Lag(Duration::from_millis(fault.list_lag_ms.unwrap_or(0))),
                next,
            )
            .await
        }
    };

    cloud.counters.answer(response.status().as_u16());
    if fault.lost_response {
        response.extensions_mut().insert(Lost);
    }

    response
}

fn refused(fault: &Fault, status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match &fault.body {
        Some(Value::String(text)) => (status, text.clone()).into_response(),
        Some(body) => (status, Json(body)).into_response(),
        None => {
            let message = fault
                .message
                .clone()
                .unwrap_or_else(|| "Internal server error".into());
            Problem::new(status, fault.code.unwrap_or(10_001), message).into_response()
        }
    };
    if let Some(seconds) = fault.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

async fn answer(cloud: &Cloud, mut request: Request, lag: Lag, next: Next) -> Response {
    let path = request.uri().path().strip_prefix(BASE).unwrap_or_default();
    if let Err(problem) = auth::check(cloud, request.headers(), path) {
        return problem.into_response();
    }

    let (taken, limit) = {
        let mut limiter = cloud
            .limiter
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        (limiter.take(Instant::now()), limiter.limit())
    };

    let window = limit.window.as_secs();
    let remaining = match taken {
        Ok(remaining) => remaining,
        Err(Exceeded(wait)) => {
            cloud.counters.rate_limited();
            let message = format!(
                "More than {} requests per {window} seconds reached. Please wait and consider throttling your request speed",
                limit.requests
            );
            let mut response =
                Problem::new(StatusCode::TOO_MANY_REQUESTS, 971, message).into_response();
            let seconds = wait.as_millis().div_ceil(1_000);

            response.headers_mut().insert(
                header::RETRY_AFTER,
                u64::try_from(seconds).unwrap_or(window).into(),
            );
            return response;
        }
    };

    request.extensions_mut().insert(lag);
    let mut response = next.run(request).await;

    for (name, value) in [
        ("ratelimit", format!("\"default\";r={remaining};t={window}")),
        (
            "ratelimit-policy",
            format!("\"default\";q={};w={window}", limit.requests),
        ),
    ] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }

    response
}

/// Every account-scoped call names the account; another one is not ours to see.
fn account(cloud: &Cloud, id: &str) -> Result<(), Problem> {
    if cloud.has_account(id) {
        Ok(())
    } else {
        Err(foreign("accounts", id))
    }
}

/// The answer for an account or a zone that is not this one.
fn foreign(kind: &str, id: &str) -> Problem {
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Problem::new(StatusCode::FORBIDDEN, 10_000, "Authentication error");
    }
    let message =
        format!("Could not route to /{kind}/{id}, perhaps your object identifier is invalid?");
    Problem::new(StatusCode::NOT_FOUND, 7003, message).because(7000, "No route for that URI")
}

type Shared = State<Arc<Cloud>>;
type Answer = Result<Response, Problem>;
type Hidden = Extension<Lag>;

fn done(result: impl serde::Serialize) -> Answer {
    Ok(ok(json!(result)))
}
