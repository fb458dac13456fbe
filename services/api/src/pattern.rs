//! Forms that fields of several kinds share.

/// A duration as Go writes it, of whole numbers and without days: `90s`, `1h30m`.
pub(crate) const DURATION: &str = r"^([0-9]+(ms|s|m|h))+$";

/// A zone: a lower-case DNS name of at least two labels (RFC 1035), without a dot at its end.
pub(crate) const ZONE: &str =
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$";
