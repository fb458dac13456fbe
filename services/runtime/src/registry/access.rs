//! Getting in: the login, and the token that it is exchanged for. A token is kept for one
//! repository of one registry.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::login::Login;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::Challenge;
use super::{Fault, TIMEOUT, body, origin};
use crate::egress::EgressGuard;

/// The longest answer of a token service.
const LONGEST: usize = 256 << 10;

/// How long a token is good for if nothing is said (Distribution's token specification).
const LIFETIME: u64 = 60;

/// The right to use one repository.
pub(super) struct Access {
    login: Option<Login>,
    scope: String,
    held: Mutex<Option<Held>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What requests carry.
#[derive(Clone)]
struct Held {
    header: HeaderValue,
    /// A token that ends soon is not used any more: an upload takes its time.
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
    expires_in: Option<u64>,
}

impl Access {
    pub(super) fn new(login: Option<Login>, scope: String) -> Self {
        Self {
            login,
            scope,
            held: Mutex::new(None),
        }
    }

    /// The same, with the login in the first request already.
    ///
    /// # Errors
    /// The login cannot be sent.
    pub(super) fn unasked(self) -> Result<Self, Fault> {
        if self.login.is_none() {
            return Ok(self);
        }

        let held = Held {
            header: self.basic()?,
            until: None,
        };

        Ok(Self {
            held: Mutex::new(Some(held)),
            ..self
        })
    }

    /// What the next request carries; nothing if the registry has not asked yet.
    pub(super) async fn header(&self) -> Option<HeaderValue> {
        let held = self.held.lock().await;
        held.as_ref()
            .filter(|held| held.until.is_none_or(|until| until > Instant::now()))
            .map(|held| held.header.clone())
    }

    /// What a request that carried `used` carries instead. Many ask at once; one of them asks the
    /// token service.
    pub(super) async fn renew(
        &self,
        http: &Client,
        egress: Option<&EgressGuard>,
        from: &Url,
        challenge: &Challenge,
        used: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Fault> {
        let mut held = self.held.lock().await;
        if let Some(newer) = held.as_ref().filter(|held| Some(&held.header) != used) {
            return Ok(newer.header.clone());
        }

        *held = None;

        let new = match challenge {
            Challenge::Basic => Held {
                header: self.basic()?,
                until: None,
            },
            Challenge::Bearer { realm, service } => {
                // A password goes to a token service that is as safe as the registry itself.
                if realm.scheme() != "https" && origin(realm) != origin(from) {
                    return Err(Fault::Protocol("it sends to a token service without https"));
                }

                if let Some(egress) = egress {
                    egress.check_url(realm)?;
                }

                self.token(http, realm.clone(), service.as_deref()).await?
            }
        };

        Ok(held.insert(new).header.clone())
    }

    /// The registry did not take what the last request carried.
    pub(super) async fn forget(&self) {
        *self.held.lock().await = None;
    }

    fn basic(&self) -> Result<HeaderValue, Fault> {
        let Login { username, password } = self
            .login
            .as_ref()
            .ok_or(Fault::Refused(StatusCode::UNAUTHORIZED))?;
        let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
        let coded = data_encoding::BASE64.encode(pair.expose_secret().as_bytes());
        sensitive(&SecretString::from(format!("Basic {coded}")))
    }

    async fn token(
        &self,
        http: &Client,
        mut realm: Url,
        service: Option<&str>,
    ) -> Result<Held, Fault> {
        realm
            .query_pairs_mut()
            .append_pair("scope", &self.scope)
            .extend_pairs(service.map(|name| ("service", name)));
        let mut request = http.get(realm).timeout(TIMEOUT);

        if let Some(Login { username, password }) = &self.login {
            request = request.basic_auth(username, Some(password.expose_secret()));
        }

        let answer = request.send().await?;
        match answer.status() {
            status if status.is_success() => {}
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                return Err(Fault::Busy(status));
            }
            status => return Err(Fault::Refused(status)),
        }

        let answer: Answer = serde_json::from_slice(&body(answer, LONGEST).await?)
            .map_err(|_error| Fault::Protocol("its token service answers no token"))?;
        let token = answer
            .token
            .or(answer.access_token)
            .ok_or(Fault::Protocol("its token service answers no token"))?;
        let lifetime = answer
            .expires_in
            .unwrap_or(LIFETIME)
            .clamp(LIFETIME, 24 * 3600);
        let header = sensitive(&SecretString::from(format!(
            "Bearer {}",
            token.expose_secret()
        )))?;

        Ok(Held {
            header,
            until: Instant::now().checked_add(Duration::from_secs(lifetime * 3 / 4)),
        })
    }
}

/// A header that no log shows.
fn sensitive(value: &SecretString) -> Result<HeaderValue, Fault> {
    let header = HeaderValue::from_str(value.expose_secret());
    let mut header =
        header.map_err(|_error| Fault::Protocol("its token service answers no token"))?;
    header.set_sensitive(true);
    Ok(header)
}
