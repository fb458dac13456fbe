//! Takes the values of secrets out of text that people see.

use std::fmt;

use data_encoding::BASE64;
use secrecy::{ExposeSecret as _, SecretString};

/// What stands in the place of a secret's value.
const MASK: &str = "***";

/// A shorter value is no secret worth hiding: it would mask half of every log.
const SHORTEST: usize = 4;

/// The values of one build.
#[derive(Default)]
pub struct Redact(Vec<SecretString>);

/// How many, never which.
impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redact").field(&self.0.len()).finish()
    }
}

impl Redact {
    /// Hides these values, each of their lines, and both in base64.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = Vec::new();

        for secret in secrets {
            let whole = String::from_utf8_lossy(secret);
            let lines = whole.lines().map(str::trim).chain([whole.trim()]);
            for line in lines.filter(|line| line.len() >= SHORTEST) {
                values.push(line.to_owned());
                values.push(
                    BASE64
                        .encode(line.as_bytes())
                        .trim_end_matches('=')
                        .to_owned(),
                );
            }
        }

        // A longer value may hold a shorter one.
        values.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values.into_iter().map(Into::into).collect())
    }

    /// The text without them.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| {
            let value = value.expose_secret();
            if text.contains(value) {
                text.replace(value, MASK)
            } else {
                text
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_its_lines_and_their_base64_are_masked() {
        let redact = Redact::new([b"hunter22\n".as_slice(), b"line-one\nline-two\n", b"abc"]);
        assert_eq!(redact.clean("token=hunter22;"), "token=***;");
        assert_eq!(redact.clean("x line-two y"), "x *** y");
        assert_eq!(
            redact.clean(&format!("Basic {}", BASE64.encode(b"hunter22"))),
            "Basic ***="
        );
        assert_eq!(redact.clean("abc stays"), "abc stays");
        assert_eq!(format!("{redact:?}").matches("hunter").count(), 0);
    }

    #[test]
    fn a_value_within_another_leaves_nothing_of_it() {
        assert_eq!(
            Redact::new([b"pass".as_slice(), b"password1"]).clean("password1"),
            "***"
        );
    }
}
