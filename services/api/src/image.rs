//! What a container's `image` says: `[host[:port]/]path[:tag][@algorithm:hex]`, by the grammar of the
//! project distribution/reference. No library of it is kept that is not a whole registry client.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::str::FromStr;

use thiserror::Error;

use crate::code::Code;
use crate::repository::{Repository, is_path};

/// The longest tag.
const TAG: usize = 128;

/// The longest name.
const NAME: usize = 255;

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

        if !is_name(name) {
            return Err(Malformed("name"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(Malformed("tag"));
        }
        if !digest.is_none_or(is_digest) {
            return Err(Malformed("digest"));
        }

        Ok(Self {
            tag: tag.map(ToOwned::to_owned),
            digest: digest.map(ToOwned::to_owned),
        })
    }
}

/// Whether it is `[host[:port]/]path`.
fn is_name(name: &str) -> bool {
    if name.len() > NAME {
        return false;
    }

    match name.split_once('/') {
        Some((host, path)) if host.starts_with('[') => is_ipv6(host) && is_path(path),
        // What would be a host is only a path in capital letters: `Team/app` is a typing error.
        Some((host, _)) if is_bare_and_capital(host) => false,
        _ => name.parse::<Repository>().is_ok(),
    }
}

/// Whether it is `[address]` or `[address]:port` (RFC 3986, 3.2.2).
fn is_ipv6(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || host.parse::<SocketAddrV6>().is_ok()
}

fn is_bare_and_capital(host: &str) -> bool {
    !host.contains(['.', ':']) && host.contains(|c: char| c.is_ascii_uppercase())
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
        Some(("sha384", hex)) => is_hex(hex, 96),
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

    #[test]
    fn an_image_may_have_a_tag_and_a_digest() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        for (text, tag, has_digest) in [
            ("redis".to_owned(), None, false),
            ("redis:7".into(), Some("7"), false),
            ("localhost:5000/a".into(), None, false),
            ("h.io:1/a/b:x".into(), Some("x"), false),
            ("REGISTRY.example.com/a:1".into(), Some("1"), false),
            ("[fd00::1]:5000/a/b:1".into(), Some("1"), false),
            ("[fd00::1]/a".into(), None, false),
            ("a__b/c-d--e".into(), None, false),
            (format!("a/b{digest}"), None, true),
            (format!("a/b:1.0{digest}"), Some("1.0"), true),
        ] {
            let image: Image = text.parse().unwrap();
            let found = (image.tag.as_deref(), image.digest.is_some());
            assert_eq!(found, (tag, has_digest), "{text}");
        }
    }

    #[test]
    fn what_names_no_image_says_what_is_wrong_of_it() {
        for (text, part) in [
            ("", "name"),
            ("UPPER/x", "name"),
            ("Redis", "name"),
            ("https://a/b", "name"),
            ("a..b", "name"),
            ("a/b___c", "name"),
            ("[fd00]/a", "name"),
            ("[fd00::1/a", "name"),
            ("a b", "name"),
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
