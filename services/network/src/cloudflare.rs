//! Cloudflare's API: one call, its envelope, and what its errors mean.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use thiserror::Error;

/// Who does not answer, in messages.
pub const NAME: &str = "Cloudflare";

/// The host that a credential is sent to.
pub const HOST: &str = "api.cloudflare.com";

/// How long a call may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The wait after "too many requests" without `Retry-After`: they block for five minutes.
const BLOCKED: Duration = Duration::from_secs(300);

/// The longest wait that a `Retry-After` may ask for.
const LONGEST: Duration = Duration::from_secs(900);

/// The most bytes of an answer.
const ANSWER: usize = 4 * 1024 * 1024;

/// The most characters of a refusal's words.
const WORDS: usize = 200;

/// A call did not do what it should.
#[derive(Debug, Error)]
pub enum Problem {
    /// Cloudflare does not do it.
    #[error("status {status}, code {code}{words}")]
    Refused {
        status: u16,
        /// Cloudflare's code, 0 if there is none.
        code: u64,
        /// What it says, with a colon before it; nothing where the credential is the matter.
        words: String,
    },
    #[error("too many calls")]
    Limited(Duration),
    #[error("{0}")]
    Away(String),
    /// The call was sent, and no answer came.
    #[error("no answer came")]
    Unknown,
}

impl Problem {
    /// Cloudflare's code, if it refused.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the token is not good enough for what was asked.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 401 | 403,
                ..
            }
        )
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Vec<ApiError>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct ApiError {
    code: u64,
    #[serde(default)]
    message: String,
}

/// Cloudflare's API with one token.
#[derive(Clone)]
pub struct Cloudflare {
    http: reqwest::Client,
    base: String,
    token: SecretString,
}

impl std::fmt::Debug for Cloudflare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloudflare")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Cloudflare {
    /// The API at `base`.
    #[must_use]
    pub fn new(http: reqwest::Client, base: &str, token: SecretString) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').into(),
            token,
        }
    }

    /// Reads; a result that is `null` is none.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Problem> {
        let answer = self
            .call(self.request(Method::GET, path).query(query), false)
            .await?;
        answer.ok_or_else(|| Problem::Away("an answer holds nothing".into()))
    }

    /// Changes something, and returns what it is then.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<T, Problem> {
        let answer = self
            .call(self.request(method, path).json(body), true)
            .await?;
        answer.ok_or_else(|| Problem::Away("an answer holds nothing".into()))
    }

    /// Deletes; what is not there is deleted.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn delete(&self, path: &str) -> Result<(), Problem> {
        match self
            .call::<IgnoredAny>(self.request(Method::DELETE, path), true)
            .await
        {
            Ok(_) | Err(Problem::Refused { status: 404, .. }) => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.http
            .request(method, url)
            .bearer_auth(self.token.expose_secret())
            .timeout(DEADLINE)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        changes: bool,
    ) -> Result<Option<T>, Problem> {
        let lost = |error: &reqwest::Error| {
            if changes && !error.is_connect() && !error.is_builder() {
                Problem::Unknown
            } else {
                Problem::Away(why(error))
            }
        };

        let response = request.send().await.map_err(|error| lost(&error))?;
        let (status, after) = (response.status(), retry_after(&response));
        let body = read(response)
            .await
            .map_err(|error| error.map_or(Problem::Unknown, |error| lost(&error)))?;

        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Problem::Limited(after.unwrap_or(BLOCKED)));
        }

        if status.is_server_error() {
            return Err(after.map_or_else(
                || Problem::Away(format!("status {}", status.as_u16())),
                Problem::Limited,
            ));
        }

        let envelope: Envelope<T> = match serde_json::from_slice(&body) {
            Ok(envelope) => envelope,
            Err(_error) if status.is_success() => {
                return Err(Problem::Away("an answer of another form".into()));
            }
            Err(_error) => return Err(refused(status, &[])),
        };

        if envelope.success && status.is_success() {
            Ok(envelope.result)
        } else {
            Err(refused(status, &envelope.errors))
        }
    }
}

/// Why a call failed, without the URL.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".into()
    } else if error.is_connect() {
        "no connection".into()
    } else {
        "the connection was lost".into()
    }
}

fn refused(status: StatusCode, errors: &[ApiError]) -> Problem {
    let first = errors.first();
    // An answer to a credential may repeat it.
    let credential = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let words = first
        .filter(|error| !credential && !error.message.is_empty())
        .map(|error| {
            let clean = error
                .message
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c });
            format!(": {}", clean.take(WORDS).collect::<String>())
        });

    Problem::Refused {
        status: status.as_u16(),
        code: first.map_or(0, |error| error.code),
        words: words.unwrap_or_default(),
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST))
}

/// The body, as far as it is no longer than any that we ask for; no error if it is.
async fn read(mut response: Response) -> Result<Vec<u8>, Option<reqwest::Error>> {
    let mut body = Vec::new();

    while let Some(chunk) = response.chunk().await.map_err(Some)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER {
            return Err(None);
        }
    }

    Ok(body)
}
