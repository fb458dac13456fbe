//! Names of the zone.

/// The fully qualified form of a name: `@` is the zone, and a name that is not under the zone is
/// taken as relative to it unless it ends with a dot. Nothing if it cannot be a name of the zone.
pub(crate) fn qualify(name: &str, zone: &str) -> Option<String> {
    let asked = name.to_ascii_lowercase();
    let full = match asked.strip_suffix('.') {
        Some(absolute) if under(absolute, zone) => absolute.to_owned(),
        Some(_) => return None,
        None if asked == "@" => zone.to_owned(),
        None if under(&asked, zone) => asked,
        None => format!("{asked}.{zone}"),
    };

    valid(&full).then_some(full)
}

/// Whether a name is the zone or below it.
pub(crate) fn under(name: &str, zone: &str) -> bool {
    name == zone
        || name
            .strip_suffix(zone)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// Whether every label is one; the first may be a wildcard.
pub(crate) fn valid(name: &str) -> bool {
    let label = |(index, label): (usize, &str)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (index == 0 && label == "*")
            || ((1..=63).contains(&label.len()) && label.bytes().all(plain))
    };
    name.len() <= 253 && name.contains('.') && name.split('.').enumerate().all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qualified(name: &str) -> Option<String> {
        qualify(name, "yourdomain.com")
    }

    #[test]
    fn names_become_fully_qualified() {
        for (name, full) in [
            ("@", "yourdomain.com"),
            ("Api.PR-1", "api.pr-1.yourdomain.com"),
            ("api.yourdomain.com", "api.yourdomain.com"),
            ("api.yourdomain.com.", "api.yourdomain.com"),
            ("notyourdomain.com", "notyourdomain.com.yourdomain.com"),
            ("*.pr-1", "*.pr-1.yourdomain.com"),
        ] {
            assert_eq!(qualified(name).as_deref(), Some(full), "{name}");
        }
    }

    #[test]
    fn names_outside_the_zone_or_malformed_are_none() {
        let long = "x".repeat(64);
        for name in ["api.elsewhere.com.", "a..b", "a b", "", &long, "a.*"] {
            assert_eq!(qualified(name), None, "{name:?}");
        }
    }
}
