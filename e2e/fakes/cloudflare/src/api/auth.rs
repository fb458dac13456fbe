//! Who may call: the bearer token, and what the API says of a missing, a malformed or a wrong one.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Answer, Shared, account, envelope::Problem};
use crate::cloud::Cloud;

#[derive(Debug, PartialEq, Eq)]
enum Given<'a> {
    Nothing,
    Malformed,
    Token(&'a str),
}

fn given(headers: &HeaderMap) -> Given<'_> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return Given::Nothing;
    };

    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("Bearer "));
    match token.map(str::trim) {
        Some(token) if !token.is_empty() => Given::Token(token),
        _ => Given::Malformed,
    }
}

/// Tokens are at least 40 characters of this alphabet; anything else is turned away before it is
/// looked up.
fn well_formed(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (40..=128).contains(&token.len()) && token.bytes().all(plain)
}

/// Asks for the token. The wrong token is named differently by each part of the API.
pub(crate) fn check(cloud: &Cloud, headers: &HeaderMap, path: &str) -> Result<(), Problem> {
    let malformed = || {
        Problem::bad(6003, "Invalid request headers")
            .because(6111, "Invalid format for Authorization header")
    };
    match given(headers) {
        Given::Token(token) if cloud.accepts(token) => Ok(()),
        Given::Token(token) if well_formed(token) => Err(wrong(path)),
        Given::Token(_) | Given::Malformed => Err(malformed()),
        Given::Nothing => Err(Problem::bad(
            9106,
            "Missing X-Auth-Key, X-Auth-Email or Authorization headers",
        )),
    }
}

fn wrong(path: &str) -> Problem {
    if path.ends_with("/tokens/verify") {
        Problem::new(StatusCode::UNAUTHORIZED, 1_000, "Invalid API Token")
    } else if path.starts_with("/accounts/") {
        Problem::new(StatusCode::FORBIDDEN, 10_000, "Authentication error")
    } else {
        Problem::new(StatusCode::FORBIDDEN, 9109, "Invalid access token")
    }
}

pub(crate) async fn verify(State(cloud): Shared) -> Response {
    let message =
        json!({"code": 10_000, "message": "This API Token is valid and active", "type": null});
    let result = json!({"id": cloud.zone.id, "status": "active"});
    Json(json!({"success": true, "errors": [], "messages": [message], "result": result}))
        .into_response()
}

pub(crate) async fn verify_account(State(cloud): Shared, Path(id): Path<String>) -> Answer {
    account(&cloud, &id)?;
    Ok(verify(State(Arc::clone(&cloud))).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_in_three_ways() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            match given(&headers) {
                Given::Token(token) => token.to_owned(),
                other => format!("{other:?}"),
            }
        };

        assert_eq!(given(&HeaderMap::new()), Given::Nothing);
        assert_eq!(read("Bearer abc"), "abc");
        assert_eq!(read("Basic abc"), "Malformed");
        assert_eq!(read("Bearer "), "Malformed");
        assert_eq!(read("abc"), "Malformed");
    }

    #[test]
    fn a_short_token_or_one_of_another_alphabet_is_malformed() {
        assert!(well_formed(&"a".repeat(40)));
        assert!(!well_formed(&"a".repeat(39)));
        assert!(!well_formed(&"a.".repeat(20)));
    }
}
