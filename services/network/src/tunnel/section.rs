//! What the section `tunnel` says, and what is put into it. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::code::Code;
use sequencer_api::secret::SecretRef;
use sequencer_api::status::State;
use sequencer_api::status::workspace::{TunnelIntent, TunnelSection};
use sequencer_api::workspace::{CloudflareTunnel, ObjectRef};
use sequencer_runtime::section::{End, Work};

use super::PROVIDER;
use crate::patience::is_partial;

/// A tunnel that exists, or may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Intended {
    pub(super) account: String,
    pub(super) name: String,
}

impl From<&TunnelIntent> for Intended {
    fn from(intent: &TunnelIntent) -> Self {
        Self {
            account: intent.account_id.clone(),
            name: intent.name.clone(),
        }
    }
}

/// Whether the newest spec is made, and only the connector was not connected when it was checked
/// last. Now and then all of it is checked again.
pub(super) fn only_connection_is_missing(
    work: &Work<TunnelSection>,
    spec: &CloudflareTunnel,
) -> bool {
    let section = &work.section;
    let made = section.account_id.as_ref() == Some(&spec.account_id) && section.connector.is_some();

    made && section.section.claim.is_none() && is_partial(work.waits(Code::ConnectorNotConnected))
}

/// Whether the tunnel of this name, and none of another account, was made and connected once.
pub(super) fn was_made(section: &TunnelSection, account: &str, name: &str) -> bool {
    let ours = |intent: &TunnelIntent| intent.account_id == account && intent.name == name;

    section.section.state == Some(State::Completed)
        && !section.intents.is_empty()
        && section.intents.iter().all(ours)
}

/// Whether it is written down that this tunnel exists, or may.
pub(super) fn intends(section: &TunnelSection, spec: &CloudflareTunnel, name: &str) -> bool {
    let mut intents = section.intents.iter();
    intents.any(|intent| intent.account_id == spec.account_id && intent.name == name)
}

/// What will be made, before it is.
pub(super) fn intend(
    section: &mut TunnelSection,
    spec: &CloudflareTunnel,
    name: &str,
    place: &ObjectRef,
) {
    let credential = SecretRef {
        name: place.name.clone(),
        namespace: place.namespace.clone(),
    };

    if !intends(section, spec, name) {
        section.intents.push(TunnelIntent {
            provider: PROVIDER.into(),
            account_id: spec.account_id.clone(),
            name: name.into(),
            credential_ref: credential.clone(),
            at: Time(Timestamp::now()),
        });
    }

    section.provider = Some(PROVIDER.into());
    section.account_id = Some(spec.account_id.clone());
    section.name = Some(name.into());
    section.credential_ref = Some(credential);
}

/// Where tunnels may be: what the intents name, and this name in the last account.
pub(super) fn places(section: &TunnelSection, name: &str) -> BTreeSet<Intended> {
    let own = section.account_id.iter().map(|account| Intended {
        account: account.clone(),
        name: name.into(),
    });

    section
        .intents
        .iter()
        .map(Intended::from)
        .chain(own)
        .collect()
}

/// Drops the intents of tunnels that were seen gone, as long as others are left: with the last one
/// goes the word that anything is to be deleted.
pub(super) fn keep(section: &mut TunnelSection, gone: &BTreeSet<Intended>) {
    let left = |intent: &TunnelIntent| !gone.contains(&intent.into());

    if section.intents.iter().any(left) {
        section.intents.retain(left);
    }
}

pub(super) fn gone(section: &mut TunnelSection) -> End {
    section.intents.clear();
    section.id = None;
    section.hostname = None;
    leave_cluster(section);
    End::Reached(State::Gone)
}

/// That nothing is left in the cluster. What names the tunnels stays: people are told of them.
pub(super) fn abandoned(section: &mut TunnelSection) -> End {
    leave_cluster(section);
    End::Reached(State::Abandoned)
}

fn leave_cluster(section: &mut TunnelSection) {
    section.connector = None;
    section.credential_ref = None;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What the watcher's tests tell people of.
    const GIVEN_UP: &str = include_str!("../../../api/tests/abandoned/tunnel.json");

    const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
    const NAME: &str = "seq-c1-5f1f9b62";

    /// A section of a tunnel that was made in this account.
    fn made(account: &str) -> TunnelSection {
        let mut section = TunnelSection::default();
        intend_in(&mut section, account);
        section.connector = Some(place());
        section.id = Some("6ff42ae2-0000-4000-8000-000000000000".into());
        section.hostname = Some("6ff42ae2-0000-4000-8000-000000000000.cfargotunnel.com".into());
        section
    }

    fn intend_in(section: &mut TunnelSection, account: &str) {
        let spec = serde_json::from_value(json!({
            "accountId": account, "route": {"component": "web", "network": "http"},
            "secretKeyRef": {"name": "token", "key": "apiKey"},
        }));
        intend(section, &spec.unwrap(), NAME, &place());
    }

    fn place() -> ObjectRef {
        ObjectRef {
            name: "w-tunnel-b2k4ns".into(),
            namespace: Some("sequencer-tunnels".into()),
        }
    }

    fn intended(account: &str) -> Intended {
        Intended {
            account: account.into(),
            name: NAME.into(),
        }
    }

    #[test]
    fn what_is_given_up_keeps_what_names_it() {
        let mut section = made(ACCOUNT);
        let End::Reached(state) = abandoned(&mut section) else {
            panic!("it is not the end")
        };
        section.section.state = Some(state);

        let mut recorded = serde_json::to_value(&section).unwrap();
        let expected: Value = serde_json::from_str(GIVEN_UP).unwrap();
        recorded["intents"][0]["at"] = expected["intents"][0]["at"].clone();
        assert_eq!(recorded, expected);
    }

    #[test]
    fn what_is_gone_keeps_nothing_that_could_be_there() {
        let mut section = made(ACCOUNT);
        assert_eq!(gone(&mut section), End::Reached(State::Gone));
        assert!(section.intents.is_empty() && section.id.is_none() && section.connector.is_none());
    }

    #[test]
    fn an_intent_goes_once_its_tunnel_is_gone_and_the_last_one_stays_until_all_is() {
        let mut section = made("a");
        intend_in(&mut section, "b");
        let all = BTreeSet::from([intended("a"), intended("b")]);
        assert_eq!(places(&section, NAME), all);

        keep(&mut section, &BTreeSet::from([intended("a")]));
        assert_eq!(places(&section, NAME), BTreeSet::from([intended("b")]));
        keep(&mut section, &all);
        assert_eq!(places(&section, NAME), BTreeSet::from([intended("b")]));
    }
}
