//! The time, as finely as the API shows it.
use jiff::{Timestamp, Unit};

pub(crate) fn now() -> Timestamp {
    let exact = Timestamp::now();
    exact.round(Unit::Microsecond).unwrap_or(exact)
}
