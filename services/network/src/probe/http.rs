//! One GET, and whether its answer is the application's.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, RequestBuilder, Response, header};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The status of a connection that is taken.
const SWITCHING: u16 = 101;
/// Any key will do: nothing is said on the connection.
const KEY: &str = "c2VxdWVuY2VyIHByb2Jlcw==";
/// The most bytes of a body that are read.
const BODY: usize = 512;
/// What ingress controllers say of a host that they do not know (yet): Traefik, and nginx.
const UNKNOWN_HOST: [&str; 2] = ["404 page not found", "default backend - 404"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Who says it, by its own words.
    pub(super) server: Option<String>,
    /// The beginning of the body.
    pub(super) body: String,
}

/// Asks once.
pub(super) async fn get(client: ClientBuilder, url: &str) -> Result<Answer, String> {
    let client = built(client)?;
    answer(client.get(url)).await
}

/// Asks once for a connection, as the provider's own client does for what is not HTTP: by a
/// WebSocket (RFC 6455, section 4.1) whose messages are the connection's bytes.
pub(super) async fn connect(client: ClientBuilder, url: &str) -> Result<Answer, String> {
    let client = built(client.http1_only())?;
    let request = client
        .get(url)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, KEY);
    answer(request).await
}

fn built(client: ClientBuilder) -> Result<Client, String> {
    let client = client.timeout(DEADLINE).user_agent("sequencer").build();
    client.map_err(|_error| "a client cannot be made".to_owned())
}

async fn answer(request: RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(|error| why(&error))?;
    let (status, server) = (response.status().as_u16(), server(&response));
    let mut body = Vec::new();
    while status != SWITCHING
        && body.len() < BODY
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(BODY);
    Ok(Answer {
        status,
        server,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Why a connection is none, in words that follow the URL; nothing if it is one.
pub(super) fn judge_connection(answer: &Answer) -> Option<String> {
    // The edge asks for a login first: nobody without one learns more.
    if matches!(answer.status, SWITCHING | 302 | 401 | 403) {
        return None;
    }
    judge(answer, false).or_else(|| Some(returned(answer, "it takes no connection")))
}

/// Why an answer does not count, in words that follow the URL; nothing if it does. `early` is the
/// time in which a controller may not know the host yet.
pub(super) fn judge(answer: &Answer, early: bool) -> Option<String> {
    let Answer { status, body, .. } = answer;

    if *status == 530 {
        let edge = "the tunnel's edge has no origin";
        return Some(match edge_code(body).as_deref() {
            Some("1033") => returned(answer, "no connector is connected (1033)"),
            Some(code) => returned(answer, &format!("{edge} ({code})")),
            None => returned(answer, edge),
        });
    }

    if matches!(status, 502 | 504) {
        return Some(returned(answer, "nothing behind it answers"));
    }

    if *status >= 500 {
        return Some(returned(answer, ""));
    }

    if *status == 404 && early && UNKNOWN_HOST.contains(&body.trim()) {
        let why = "the ingress controller does not know the host yet";
        return Some(returned(answer, why));
    }

    None
}

/// The status, the server if that is known, and why.
fn returned(answer: &Answer, why: &str) -> String {
    let server = answer.server.as_ref();
    let server = server.map(|server| format!(" by {server}"));
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    };

    format!(
        "returned {}{}{why}",
        answer.status,
        server.unwrap_or_default()
    )
}

/// The code of an error page of Cloudflare's edge.
fn edge_code(body: &str) -> Option<String> {
    let code = body
        .lines()
        .find_map(|line| line.trim().strip_prefix("error code: "))?;

    Some(code.chars().filter(char::is_ascii_digit).take(8).collect())
}

fn server(response: &Response) -> Option<String> {
    let name = response.headers().get(header::SERVER)?.to_str().ok()?;
    Some(name.chars().filter(|c| !c.is_control()).take(64).collect())
}

fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }

    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("certificate") {
            return "the certificate is not valid for it".into();
        }
        cause = error.source();
    }

    if error.is_connect() {
        "no connection".into()
    } else {
        "the connection was lost".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_one_that_is_taken() {
        let taken = |status| {
            let answer = Answer {
                status,
                server: None,
                body: String::new(),
            };
            judge_connection(&answer).is_none()
        };
        for status in [101, 302, 401, 403] {
            assert!(taken(status), "{status}");
        }
        for status in [200, 400, 404, 502, 530] {
            assert!(!taken(status), "{status}");
        }
    }

    fn counts(status: u16, server: Option<&str>, body: &str, early: bool) -> bool {
        judge(
            &Answer {
                status,
                server: server.map(Into::into),
                body: body.into(),
            },
            early,
        )
        .is_none()
    }

    #[test]
    fn any_answer_of_the_application_below_500_counts() {
        for status in [200, 204, 301, 401, 403, 404, 418, 429] {
            assert!(counts(status, Some("nginx"), "", true), "{status}");
        }
        assert!(!counts(500, None, "", true) && !counts(503, None, "", false));
    }

    #[test]
    fn what_the_edge_says_itself_does_not_count() {
        assert!(!counts(530, Some("cloudflare"), "error code: 1033", false));
        assert!(!counts(502, Some("cloudflare"), "", false));
        assert!(!counts(504, None, "", false));
        assert!(
            judge(
                &Answer {
                    status: 530,
                    server: None,
                    body: "error code: 1033".into()
                },
                true
            )
            .unwrap()
            .contains("1033")
        );
    }

    #[test]
    fn the_server_is_named_only_if_it_is_known() {
        let answer = |server: Option<&str>| Answer {
            status: 500,
            server: server.map(Into::into),
            body: String::new(),
        };

        let unknown = judge(&answer(None), false);
        assert_eq!(unknown.as_deref(), Some("returned 500"));
        let known = judge(&answer(Some("nginx")), false);
        assert_eq!(known.as_deref(), Some("returned 500 by nginx"));
    }

    #[test]
    fn a_controller_gets_time_to_know_a_host_and_then_it_is_the_applications_own_404() {
        for body in ["404 page not found\n", "default backend - 404"] {
            assert!(!counts(404, None, body, true));
            assert!(counts(404, None, body, false));
        }
    }
}
