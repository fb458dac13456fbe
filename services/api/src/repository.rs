//! Where images are published: `[host[:port]/]path`, as `containerRegistries[].url` has it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::code::Code;

/// Docker Hub, where a repository without a host is.
pub const HUB: &str = "docker.io";
/// Other names of Docker Hub: in urls, and as the keys of Docker's `config.json`.
const HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Where Docker Hub answers.
const HUB_API: &str = "registry-1.docker.io";

/// It is no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "not a repository: [host[:port]/]path in lower case, without scheme, login, tag and digest"
)]
pub struct Malformed;

impl Malformed {
    /// The code that users meet.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::RepositoryMalformed
    }
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// The registry's host and port as people write it; Docker Hub is `docker.io` whatever name it
    /// was given.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host and port that answers.
    #[must_use]
    pub fn api_host(&self) -> &str {
        if self.host == HUB {
            HUB_API
        } else {
            &self.host
        }
    }

    /// The repository's name in its registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// `docker.io/myuser/ephemeralbuilds`: always with the host.
impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.path)
    }
}

impl FromStr for Repository {
    type Err = Malformed;

    fn from_str(url: &str) -> Result<Self, Malformed> {
        let (host, path) = match url.split_once('/') {
            Some((host, path)) if is_host(host) => (canonical(host), path),
            _ => (HUB.to_owned(), url),
        };

        if !is_path(path) || !is_valid(&host) {
            return Err(Malformed);
        }

        // What Docker itself publishes has a folder that nobody writes.
        let official = host == HUB && !path.contains('/');
        let path = if official {
            format!("library/{path}")
        } else {
            path.to_owned()
        };

        Ok(Self { host, path })
    }
}

/// One name for each registry: in lower case, and `docker.io` for each of Docker Hub's.
#[must_use]
pub fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if HUB_ALIASES.contains(&host.as_str()) {
        HUB.to_owned()
    } else {
        host
    }
}

/// Whether the first part of a reference is a host and no part of the path, by Distribution's rule:
/// it has a dot, a port or a capital letter, or is `localhost`.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':'])
        || part == "localhost"
        || part.contains(|c: char| c.is_ascii_uppercase())
}

fn is_valid(host: &str) -> bool {
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let port_is_valid =
        |port: &str| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0);

    edge(name.chars().next())
        && edge(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        && !name.contains("..")
        && port.is_none_or(port_is_valid)
}

/// Whether it is lower-case letters and digits with `.`, `_`, `__` or hyphens between them, and slashes
/// between such.
pub(crate) fn is_path(path: &str) -> bool {
    path.split('/').all(is_component)
}

fn is_component(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.chars().all(|c| c == '-');

    part.starts_with(inner) && part.ends_with(inner) && part.split(inner).all(is_separator)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_repository_without_a_host_is_on_docker_hub_and_a_single_name_is_dockers_own() {
        for (url, host, api, path) in [
            (
                "myuser/ephemeralbuilds",
                "docker.io",
                "registry-1.docker.io",
                "myuser/ephemeralbuilds",
            ),
            (
                "redis",
                "docker.io",
                "registry-1.docker.io",
                "library/redis",
            ),
            (
                "docker.io/redis",
                "docker.io",
                "registry-1.docker.io",
                "library/redis",
            ),
            (
                "index.docker.io/myuser/x",
                "docker.io",
                "registry-1.docker.io",
                "myuser/x",
            ),
            (
                "registry-1.docker.io/myuser/x",
                "docker.io",
                "registry-1.docker.io",
                "myuser/x",
            ),
            ("registry.test/x", "registry.test", "registry.test", "x"),
            (
                "Registry.Test:5000/a/b_c/d-e",
                "registry.test:5000",
                "registry.test:5000",
                "a/b_c/d-e",
            ),
            ("localhost/x", "localhost", "localhost", "x"),
        ] {
            let repository: Repository = url.parse().unwrap();
            assert_eq!(
                (repository.host(), repository.api_host(), repository.path()),
                (host, api, path),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_repository_is_refused_with_e6040() {
        for url in [
            "",
            "/",
            "https://x/y",
            "x.y/",
            "x.y/z:tag",
            "x.y/z@sha256:00",
            "user:pass@x.y/z",
            "x.y/Z",
            "x.y/z?q",
            "x.y:0/z",
            "x.y:65536/z",
            "x.y:+1/z",
            "x..y/z",
            "-x.y/z",
            "x.y/../z",
            "x.y/%2e%2e/z",
            "x.y//z",
            "x.y/z\n",
        ] {
            assert_eq!(url.parse::<Repository>(), Err(Malformed), "{url:?}");
        }
        assert_eq!(Malformed.code(), Code::RepositoryMalformed);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_same_repository(
            host in "([a-z0-9]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?/)?", path in "[a-z0-9]{1,8}([_-][a-z0-9]{1,8})?(/[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?){0,2}",
        ) {
            let repository: Repository = format!("{host}{path}").parse().unwrap();
            prop_assert_eq!(repository.to_string().parse::<Repository>(), Ok(repository));
        }

        #[test]
        fn nothing_but_a_repository_is_taken(url in "\\PC{0,40}") {
            if let Ok(repository) = url.parse::<Repository>() {
                let shown = repository.to_string();
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "./:_-".contains(c);
                prop_assert!(shown.chars().all(plain) && !shown.contains("..") && !shown.contains("//"), "{}", shown);
            }
        }
    }
}
