//! What the section `record` says, and what is put into it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::code::Code;
use sequencer_api::status::State;
use sequencer_api::status::dns_record::RecordSection;
use sequencer_runtime::section::{End, Work};

use super::Wanted;
use crate::patience::is_partial;

/// Whether the newest spec is made, and only answers were missing when it was checked last. Now
/// and then all of it is checked again.
pub(super) fn only_answers_are_missing(work: &Work<RecordSection>) -> bool {
    let claim = work.section.section.claim.as_ref();
    claim.is_none() && is_partial(work.waits(Code::RecordNotResolved))
}

/// What will be made, at this provider.
pub(super) fn intend(section: &mut RecordSection, wanted: &Wanted, provider: &str) {
    section.provider = Some(provider.into());
    section.fqdn = Some(wanted.fqdn.clone());
    section.record_type = Some(wanted.kind.as_str().into());
    section.target = Some(wanted.target.clone());
    section.ttl = i32::try_from(wanted.ttl).ok();
}

pub(super) fn gone(section: &mut RecordSection) -> End {
    section.deleted_at = Some(Time(Timestamp::now()));
    End::Reached(State::Gone)
}

/// What names the record stays: people are told of it.
pub(super) fn abandoned() -> End {
    End::Reached(State::Abandoned)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dns::RecordType;
    use crate::mark::Mark;

    /// What the watcher's tests tell people of.
    const GIVEN_UP: &str = include_str!("../../../api/tests/abandoned/record.json");

    #[test]
    fn what_is_given_up_keeps_what_names_it() {
        let wanted = Wanted {
            zone: "preview.test".into(),
            fqdn: "w.preview.test".into(),
            kind: RecordType::Cname,
            target: "t.example".into(),
            ttl: 60,
            proxied: false,
            mark: Mark {
                cluster: "c1".into(),
                owner: "5f1f9b62".into(),
            },
        };
        let mut section = RecordSection::default();
        intend(&mut section, &wanted, "main");

        let End::Reached(state) = abandoned() else {
            panic!("it is not the end")
        };
        section.section.state = Some(state);

        let expected: Value = serde_json::from_str(GIVEN_UP).unwrap();
        assert_eq!(serde_json::to_value(&section).unwrap(), expected);
    }
}
