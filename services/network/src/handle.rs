//! What every verb shares: who handles it, whether it is time, the claim, and how it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use sequencer_api::provider::{self, Provider};
use sequencer_api::secret::SecretRef;
use sequencer_api::status::{self, Section, State};
use sequencer_proto::topics::{ASKED, Verb};
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::{Holder, Terms, Verdict, judge};
use sequencer_runtime::cluster::RecordError;
use sequencer_runtime::cluster::secret::Secrets;
use sequencer_runtime::outside::Outside;
use sequencer_runtime::retry::{Failing, Retry, Waits, due, failed};
use thiserror::Error;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::args::Args;
use crate::dns::answers;
use crate::error::Error;

/// So many looks come at their usual pace.
const PATIENT: i32 = 24;

/// The settings cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The roots cannot be read.
    #[error(transparent)]
    Bundle(#[from] sequencer_runtime::outside::BundleError),
    /// A client cannot be made.
    #[error("cannot make an HTTP client")]
    Http(#[from] reqwest::Error),
    /// There is no such file.
    #[error("cannot read the DNS providers")]
    Providers(#[from] std::io::Error),
    /// The list is none.
    #[error("the DNS providers are not valid: {0}")]
    List(String),
}

/// The status cannot be read or written, so nothing can be recorded.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    #[error("cannot read the object")]
    Read(#[from] kube::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Handles the network service's commands.
pub struct Service {
    pub(crate) client: Client,
    pub(crate) secrets: Secrets,
    pub(crate) outside: Outside,
    pub(crate) http: reqwest::Client,
    pub(crate) providers: Vec<Provider>,
    pub(crate) resolver: SocketAddr,
    pub(crate) holder: Holder,
    pub(crate) args: Args,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Service {
    /// With these settings, and with the rights of this client.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(client: Client, args: &Args) -> Result<Self, SettingsError> {
        let outside = Outside::new(&args.outside)?;
        let list = args.dns_providers.as_ref().map_or(Ok(String::new()), std::fs::read_to_string)?;
        let system = || answers::resolver(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        Ok(Self {
            secrets: Secrets::new(client.clone()),
            http: outside.trusted().build()?,
            outside,
            providers: provider::parse(&list).map_err(|error| SettingsError::List(error.to_string()))?,
            resolver: args.resolver.unwrap_or_else(system),
            holder: Holder::new(&args.shared),
            args: args.clone(),
            client,
        })
    }

    /// Handles one command.
    pub async fn handle(&self, delivery: Delivery) -> Outcome {
        let handled = match delivery.command.verb() {
            Verb::Dns => Box::pin(self.dns(&delivery)).await,
            Verb::Tunnel => Box::pin(self.tunnel(&delivery)).await,
            Verb::Probe => Box::pin(self.probe(&delivery)).await,
            _ => Ok(Outcome::Stale),
        };
        handled.unwrap_or_else(|broken| ended(&broken))
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms::from(&self.args.shared.periods)
    }

    /// How long work may take: it and what undoes it must end before its claim does.
    pub(crate) fn deadline(&self) -> Duration {
        self.args.shared.periods.claim.mul_f64(0.4)
    }

    /// Whether this may be worked at, and the claim to write before.
    pub(crate) fn claim(&self, section: &Section) -> Verdict {
        judge(section.claim.as_ref(), &self.holder, self.terms(), Timestamp::now())
    }

    /// Records a failure, or that something takes its time, in a section. `credential` is the Secret that may be the cause.
    pub(crate) fn fail(&self, section: &mut Section, error: &Error, credential: &BTreeMap<String, String>, uid: &str) {
        let waits = Waits::from(&self.args.shared.periods);
        let secrets = if error.is_credential() { credential.clone() } else { BTreeMap::new() };
        let uid = Uuid::try_parse(uid).unwrap_or_default();
        // Waiting is no failure: failures begin to count after it.
        let before = section.retry.take().filter(|before| before.code == error.code().to_string());
        let retry = slower(error.retry(), before.as_ref().map_or(0, |before| before.attempts));
        let failing = Failing { code: error.code(), message: error.to_string(), retry, secrets };
        let retry = failed(before.as_ref(), failing, &waits, uid, Timestamp::now());
        if error.is_waiting() {
            info!(code = %retry.code, message = retry.message, "not yet there");
        } else {
            warn!(code = %retry.code, message = retry.message, attempts = retry.attempts, "a step failed");
        }
        section.retry = Some(retry);
        section.claim = None;
    }

    /// Whether it is time to look, given what is recorded. `from` is the namespace that refers to the Secrets.
    pub(crate) async fn is_time(&self, section: &Section, look: Look<'_>, from: &str) -> bool {
        match look.judge(section, Timestamp::now()) {
            Time::Now => true,
            Time::Later => false,
            Time::IfChanged(versions) => self.changed(versions, from).await,
        }
    }

    async fn changed(&self, versions: &BTreeMap<String, String>, from: &str) -> bool {
        for (source, version) in versions {
            let Some((namespace, name)) = source.split_once('/') else { continue };
            let reference = SecretRef { name: name.into(), namespace: Some(namespace.into()) };
            let found = self.secrets.read(from, &reference).await;
            if found.map_or_else(|_error| String::new(), |found| found.version().to_owned()) != *version {
                return true;
            }
        }
        false
    }
}

/// What is looked at again and again is looked at less often after some time, and in the end sixteen times less: each look
/// writes down when the next one is.
fn slower(retry: Retry, looks: i32) -> Retry {
    let doublings = u32::try_from(looks.saturating_sub(PATIENT)).unwrap_or_default().min(4);
    match retry {
        Retry::Wait(wait) => Retry::Wait(wait.saturating_mul(1 << doublings)),
        other => other,
    }
}

/// How an object is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    /// `metadata.generation`
    pub(crate) generation: i64,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Why it was sent.
    pub(crate) why: &'a str,
}

/// Whether it is time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Time<'a> {
    Now,
    Later,
    IfChanged(&'a BTreeMap<String, String>),
}

impl Look<'_> {
    /// Whether a person wants it tried now.
    pub(crate) fn is_asked(&self) -> bool {
        self.why == ASKED
    }

    /// A person, a new generation or a wait that is over make it time; what is done stays done.
    pub(crate) fn judge<'a>(&self, section: &'a Section, now: Timestamp) -> Time<'a> {
        let done = |state| match state {
            State::Gone => self.deleting,
            State::Completed | State::Healthy => !self.deleting,
            _ => false,
        };
        let same = section.observed_generation == Some(self.generation);
        match (&section.retry, section.state) {
            (_, Some(State::Gone)) if self.deleting => Time::Later,
            _ if self.is_asked() || !same => Time::Now,
            (None, Some(state)) if done(state) => Time::Later,
            (Some(retry), _) if !due(retry.next_attempt_at.0, false, now) => {
                if retry.secret_versions.is_empty() {
                    Time::Later
                } else {
                    Time::IfChanged(&retry.secret_versions)
                }
            }
            _ => Time::Now,
        }
    }
}

/// The failure as people see it beside the section's retry.
pub(crate) fn told(error: &Error) -> status::Failure {
    let message = Some(error.to_string().chars().take(1024).collect());
    status::Failure { code: error.code().to_string(), message, ..status::Failure::default() }
}

/// How a command ends whose object cannot be read or written.
fn ended(broken: &Broken) -> Outcome {
    match broken {
        // Somebody else was faster: they have the work, and their record stands.
        Broken::Record(RecordError::Conflict) => Outcome::ClaimedElsewhere,
        Broken::Record(RecordError::Gone) => Outcome::Gone,
        broken => {
            let cause = std::error::Error::source(broken).map(ToString::to_string);
            error!(error = %broken, cause, "the status cannot be read or written");
            Outcome::NotRecorded
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as At;
    use sequencer_api::status::Retry as Recorded;

    use super::*;

    fn section(state: State, next: Option<i64>, secret: bool) -> Section {
        let versions = if secret { BTreeMap::from([("a/b".to_owned(), "7".to_owned())]) } else { BTreeMap::new() };
        let retry = next.map(|next| Recorded {
            attempts: 1,
            next_attempt_at: At(Timestamp::from_second(next).unwrap()),
            code: "E#4001".into(),
            message: String::new(),
            secret_versions: versions,
        });
        Section { rev: 1, state: Some(state), observed_generation: Some(2), claim: None, retry }
    }

    #[test]
    fn what_is_looked_at_for_long_is_looked_at_less_often() {
        let second = Duration::from_secs(1);
        let waits = [0, 24, 25, 28, 1000].map(|looks| slower(Retry::Wait(second), looks));
        assert_eq!(waits, [1, 1, 2, 16, 16].map(|times| Retry::Wait(second * times)));
        assert_eq!(slower(Retry::Backoff, 1000), Retry::Backoff);
    }

    #[test]
    fn what_is_done_is_left_alone_until_something_changes() {
        let look = |generation, deleting, why| Look { generation, deleting, why };
        let now = Timestamp::from_second(100).unwrap();
        let done = section(State::Completed, None, false);
        assert_eq!(look(2, false, "resync").judge(&done, now), Time::Later);
        assert_eq!(look(3, false, "").judge(&done, now), Time::Now);
        assert_eq!(look(2, false, ASKED).judge(&done, now), Time::Now);
        assert_eq!(look(2, true, "").judge(&done, now), Time::Now);
        assert_eq!(look(2, true, "retry").judge(&section(State::Gone, None, false), now), Time::Later);
    }

    #[test]
    fn a_failure_is_tried_again_when_its_wait_is_over_or_its_secret_changed() {
        let look = Look { generation: 2, deleting: false, why: "" };
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(look.judge(&section(State::Error, Some(101), false), now), Time::Later);
        assert_eq!(look.judge(&section(State::Error, Some(100), false), now), Time::Now);
        let secret = section(State::Error, Some(101), true);
        assert!(matches!(look.judge(&secret, now), Time::IfChanged(_)));
        assert_eq!(Look { why: "retry", ..look }.judge(&secret, now), Time::Now);
        assert_eq!(look.judge(&section(State::InProgress, None, false), now), Time::Now);
    }
}
