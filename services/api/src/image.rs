//! What a container's `image` says: `[host[:port]/]path[:tag][@algorithm:hex]`, by the grammar of the
//! project distribution/reference. No library of it is kept that is not a whole registry client.

use std::str::FromStr;

use thiserror::Error;

use crate::code::Code;
use crate::repository::Repository;

/// The longest tag.
const TAG: usize = 128;

/// It names no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an image, [host[:port]/]path[:tag][@sha256:digest]: its {0} is malformed")]
pub struct Malformed(&'static str);

impl Malformed {
    /// The code that users meet.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::ImageMalformed
    }
}

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is published.
    pub repository: Repository,
    /// Its tag; `latest` if there is neither tag nor digest.
    pub tag: Option<String>,
    /// `algorithm:hex`.
    pub digest: Option<String>,
}

impl FromStr for Image {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // What stands before a slash is a host's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };

        if has_bare_capital_host(name) {
            return Err(Malformed("name"));
        }
        let repository = name.parse().map_err(|_malformed| Malformed("name"))?;
        if !tag.is_none_or(is_tag) {
            return Err(Malformed("tag"));
        }
        if !digest.is_none_or(is_digest) {
            return Err(Malformed("digest"));
        }

        Ok(Self {
            repository,
            tag: tag.map(ToOwned::to_owned),
            digest: digest.map(ToOwned::to_owned),
        })
    }
}

/// Whether what would be a host is only a path in capital letters: `Team/app` is a typing error.
fn has_bare_capital_host(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(host, _)| !host.contains(['.', ':']) && host != host.to_ascii_lowercase())
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(word)
        && tag.len() <= TAG
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    match digest.split_once(':') {
        Some(("sha256", hex)) => is_hex(hex, 64),
        Some(("sha512", hex)) => is_hex(hex, 128),
        _ => false,
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    let hex = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
    text.len() == length && text.chars().all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Option<String>, bool) {
        let image: Image = text.parse().unwrap();
        (
            image.repository.to_string(),
            image.tag,
            image.digest.is_some(),
        )
    }

    #[test]
    fn an_image_has_a_repository_and_may_have_a_tag_and_a_digest() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        for (text, repository, tag, has_digest) in [
            ("redis".to_owned(), "docker.io/library/redis", None, false),
            (
                "redis:7".into(),
                "docker.io/library/redis",
                Some("7"),
                false,
            ),
            ("localhost:5000/a".into(), "localhost:5000/a", None, false),
            ("h.io:1/a/b:x".into(), "h.io:1/a/b", Some("x"), false),
            (format!("a/b{digest}"), "docker.io/a/b", None, true),
            (
                format!("a/b:1.0{digest}"),
                "docker.io/a/b",
                Some("1.0"),
                true,
            ),
        ] {
            let tag = tag.map(ToOwned::to_owned);
            assert_eq!(parts(&text), (repository.to_owned(), tag, has_digest));
        }
    }

    #[test]
    fn what_names_no_image_says_what_is_wrong_of_it() {
        for (text, part) in [
            ("", "name"),
            ("UPPER/x", "name"),
            ("Redis", "name"),
            ("https://a/b", "name"),
            ("nginx:late st", "tag"),
            ("nginx:", "tag"),
            ("nginx:-1", "tag"),
            ("a@sha256:zz", "digest"),
            ("a@", "digest"),
            ("a:1@md5:00", "digest"),
        ] {
            let malformed = text.parse::<Image>().unwrap_err();
            assert_eq!(malformed, Malformed(part), "{text}");
        }
    }
}
