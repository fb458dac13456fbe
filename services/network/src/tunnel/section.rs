//! What the section `tunnel` says, and what is put into it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::code::Code;
use sequencer_api::secret::SecretRef;
use sequencer_api::status::State;
use sequencer_api::status::workspace::{TunnelIntent, TunnelSection};
use sequencer_api::workspace::{CloudflareTunnel, ObjectRef};
use sequencer_runtime::section::{End, Work};

use super::PROVIDER;

/// Whether the newest spec is made, and only the connector was not connected when it was checked
/// last. Now and then all of it is checked again.
pub(super) fn only_connection_is_missing(
    work: &Work<TunnelSection>,
    spec: &CloudflareTunnel,
) -> bool {
    let section = &work.section;
    let made = section.account_id.as_ref() == Some(&spec.account_id) && section.connector.is_some();

    made && section.section.claim.is_none() && work.waits(Code::ConnectorNotConnected) % 8 != 0
}

/// Whether the tunnel of this name, and none of another account, was made and connected once.
pub(super) fn was_made(section: &TunnelSection, account: &str, name: &str) -> bool {
    let ours = |intent: &TunnelIntent| intent.account_id == account && intent.name == name;

    section.section.state == Some(State::Completed)
        && !section.intents.is_empty()
        && section.intents.iter().all(ours)
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

    let known = |intent: &TunnelIntent| intent.account_id == spec.account_id && intent.name == name;
    if !section.intents.iter().any(known) {
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

pub(super) fn gone(section: &mut TunnelSection) -> End {
    section.intents.clear();
    section.id = None;
    section.hostname = None;
    section.connector = None;
    section.credential_ref = None;
    End::Reached(State::Gone)
}
