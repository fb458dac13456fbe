//! Refusing what a spec asks for.

use sequencer_api::code::Code;
use sequencer_api::host::Refusal;

/// Refuses with this code where `when` says so.
pub(super) fn refuse(when: bool, code: Code, what: impl FnOnce() -> String) -> Result<(), Refusal> {
    if when {
        Err(Refusal::new(code, what()))
    } else {
        Ok(())
    }
}
