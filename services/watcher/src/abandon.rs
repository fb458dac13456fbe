//! What an administrator leaves behind outside the cluster, so that its object can go.

use jiff::Timestamp;
use sequencer_api::labels;
use sequencer_api::status::{Section, State};

use crate::owned::Abandon;
use crate::plan::{Event, EventReason, Plan, Target};

/// Whether what a section is about is left where it is: the worker tried once more and gave it up,
/// or it had its time. Not while somebody is at work there.
pub(crate) fn gives_up(
    plan: &mut Plan,
    abandon: Abandon,
    section: &Section,
    now: Timestamp,
) -> bool {
    if section.state == Some(State::Abandoned) {
        return true;
    }

    let busy = section
        .claim
        .as_ref()
        .map(|claim| claim.until.0)
        .filter(|until| *until > now);

    match (abandon, busy) {
        (Abandon::No, _) => false,
        (Abandon::At(at), _) => {
            plan.again_at(at);
            false
        }
        (Abandon::Now, Some(until)) => {
            plan.again_at(until);
            false
        }
        (Abandon::Now, None) => true,
    }
}

/// What people read of something that was left behind: it is nobody's now.
pub(crate) fn abandoned(workspace: &Target, what: &str) -> Event {
    let message = format!(
        "left behind because of {}: {what}",
        labels::ABANDON_EXTERNAL
    );
    Event {
        warning: true,
        ..Event::new(workspace, EventReason::Abandoned, message)
    }
}
