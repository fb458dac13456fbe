//! Events for people (events.k8s.io/v1): once for each transition.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

use crate::args::NAME;
use crate::conditions::{Reason, find};
use crate::plan::{Target, Told, api_version, words};

/// The most characters of an Event's note.
const NOTE: usize = 1024;

/// Writes Events.
#[derive(Clone)]
pub struct Teller {
    client: Client,
    reporter: Reporter,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

impl Teller {
    /// In the name of this pod.
    #[must_use]
    pub fn new(client: Client, pod: &str) -> Self {
        Self { client, reporter: Reporter { controller: NAME.into(), instance: Some(pod.into()) } }
    }

    /// Tells one. Nothing depends on it.
    pub async fn tell(&self, told: &Told) {
        let Told { target, reason, warning, message } = told;
        // What went wrong is logged by whoever met it.
        if *warning && *reason != "Error" {
            warn!(kind = target.kind.word(), namespace = target.namespace, name = target.name, reason, message, "told");
        }
        let about = ObjectReference {
            api_version: Some(api_version()),
            kind: Some(words(target.kind).0.into()),
            namespace: Some(target.namespace.clone()),
            name: Some(target.name.clone()),
            uid: Some(target.uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if *warning { EventType::Warning } else { EventType::Normal },
            reason: (*reason).into(),
            note: Some(message.chars().take(NOTE).collect()),
            action: (*reason).into(),
            secondary: None,
        };
        // A recorder folds what has the same reason into what it told first, with the first's words: each has its own.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &about).await {
            warn!(name = target.name, %error, "an Event is lost");
        }
    }
}

/// What a change of `Ready` tells: that something went wrong, once for each code; where `says_ready`, also that it is ready.
#[must_use]
pub fn transitions(target: &Target, before: &[Condition], after: &[Condition], says_ready: bool) -> Vec<Told> {
    if let Some(wrong) = wrong(target, "Ready", before, after) {
        return vec![wrong];
    }
    if says_ready { ready(target, before, after).into_iter().collect() } else { Vec::new() }
}

/// That a condition went wrong: once for each code and transition.
#[must_use]
pub fn wrong(target: &Target, kind: &str, before: &[Condition], after: &[Condition]) -> Option<Told> {
    let error = Reason::Error.word();
    let now = find(after, kind).filter(|now| now.reason == error)?;
    let code = |condition: &Condition| condition.message.split(' ').next().map(ToOwned::to_owned);
    let was = find(before, kind).filter(|was| was.reason == error);
    let news = was.is_none_or(|was| code(was) != code(now));
    news.then(|| Told { warning: true, ..Told::new(target, "Error", now.message.clone()) })
}

/// That it is ready now.
#[must_use]
pub fn ready(target: &Target, before: &[Condition], after: &[Condition]) -> Option<Told> {
    begins("Ready", before, after).map(|now| Told::new(target, "Ready", now.message.clone()))
}

/// That it is deleted soon.
#[must_use]
pub fn expiring(target: &Target, before: &[Condition], after: &[Condition]) -> Option<Told> {
    begins("Expiring", before, after).map(|now| Told::new(target, "Expiring", now.message.clone()))
}

/// A condition that holds now, and did not before.
fn begins<'a>(kind: &str, before: &[Condition], after: &'a [Condition]) -> Option<&'a Condition> {
    let holds = |found: &&Condition| found.status == "True";
    find(after, kind).filter(holds).filter(|_| find(before, kind).filter(holds).is_none())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sequencer_proto::topics::Kind;

    use super::*;
    use crate::conditions::{Conditions, Fact};

    fn ready(fact: &Fact) -> Vec<Condition> {
        Conditions::new(&[], 1, Timestamp::UNIX_EPOCH).finish(fact, false, "")
    }

    #[test]
    fn an_error_is_told_once_for_each_code_and_readiness_once() {
        let target = Target { kind: Kind::Workspace, namespace: "n".into(), name: "w".into(), uid: "u".into() };
        let reasons = |before: &Fact, after: &Fact| {
            transitions(&target, &ready(before), &ready(after), true).iter().map(|told| told.reason).collect::<Vec<_>>()
        };
        let (good, waiting) = (Fact::yes(Reason::Healthy, ""), Fact::no(Reason::Waiting, ""));
        let error = |message: &str| Fact::no(Reason::Error, message);
        assert_eq!(reasons(&waiting, &error("E#1012 a")), ["Error"]);
        assert_eq!(reasons(&error("E#1012 a"), &error("E#1012 b")), [""; 0]);
        assert_eq!(reasons(&error("E#1012 a"), &error("E#1007 b")), ["Error"]);
        assert_eq!(reasons(&waiting, &good), ["Ready"]);
        assert_eq!(reasons(&good, &good), [""; 0]);
    }
}
