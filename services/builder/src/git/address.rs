//! Where a repository is: the three forms that a Build's URL may have.

use std::fmt;

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// ssh, with a key.
    Ssh,
    /// https, with a token, a password or nothing.
    Https,
}

/// A repository's address, without any login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// How it is reached.
    pub transport: Transport,
    /// ssh's user.
    user: Option<String>,
    pub host: String,
    /// The port, if it is not the usual one.
    port: Option<u16>,
    /// The path, without a slash before it.
    path: String,
    /// Whether the path begins at the server's root, and not at the user's home.
    rooted: bool,
}

impl Address {
    /// Reads a URL. The schema has refused all that is dangerous; what is left over is no address
    /// either.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (transport, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Transport::Https, rest),
            Some(("ssh", rest)) => (Transport::Ssh, rest),
            Some(_) => return None,
            None => return Self::scp(url),
        };

        let (authority, path) = rest.split_once('/')?;
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };

        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => place
                .split_once(':')
                .map_or((place, None), |(host, port)| (host, Some(port))),
        };

        let port = port
            .filter(|port| !port.is_empty())
            .map(str::parse)
            .transpose()
            .ok()?;

        Self {
            transport,
            user: user.map(Into::into),
            host: host.into(),
            port,
            path: path.into(),
            rooted: true,
        }
        .sound()
    }

    /// `user@host:path`
    fn scp(url: &str) -> Option<Self> {
        let (user, rest) = url.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let (path, rooted) = path
            .strip_prefix('/')
            .map_or((path, false), |path| (path, true));
        let user = Some(user.into());

        Self {
            transport: Transport::Ssh,
            user,
            host: host.into(),
            port: None,
            path: path.into(),
            rooted,
        }
        .sound()
    }

    /// A second line of defence behind the schema: nothing that a program takes for an option, no
    /// login, no control.
    fn sound(self) -> Option<Self> {
        let parts = [self.user.as_deref().unwrap_or("x"), &self.host, &self.path];
        let plain = |part: &&str| {
            !part.is_empty() && !part.starts_with('-') && part.chars().all(|c| c.is_ascii_graphic())
        };

        let user = self.user.as_deref().unwrap_or_default();
        let login = user.contains(':') || (self.transport == Transport::Https && !user.is_empty());
        let host = self
            .host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-:_".contains(c));
        (parts.iter().all(plain) && !login && host && self.port != Some(0)).then_some(self)
    }

    /// The same repository of the same host over https: a token says nothing to ssh.
    #[must_use]
    pub fn over_https(&self) -> Self {
        match self.transport {
            Transport::Https => self.clone(),
            Transport::Ssh => Self {
                transport: Transport::Https,
                user: None,
                port: None,
                rooted: true,
                ..self.clone()
            },
        }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.transport {
            Transport::Ssh => 22,
            Transport::Https => 443,
        })
    }

    /// As a host is named in known_hosts.
    #[must_use]
    pub fn known_as(&self) -> String {
        if self.port() == 22 {
            self.host.clone()
        } else {
            format!("[{}]:{}", self.host, self.port())
        }
    }

    /// `scheme://host[:port]/`
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = match self.transport {
            Transport::Ssh => "ssh",
            Transport::Https => "https",
        };

        let user = self
            .user
            .as_ref()
            .map(|user| format!("{user}@"))
            .unwrap_or_default();
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };

        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{user}{host}{port}/")
    }
}

/// As git takes it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = if self.rooted || self.path.starts_with('~') {
            ""
        } else {
            "~/"
        };
        match (&self.user, self.rooted) {
            // Below the user's home: only this form says so everywhere.
            (Some(user), false) if !self.host.contains(':') => {
                write!(f, "{user}@{}:{}", self.host, self.path)
            }
            _ => write!(f, "{}{home}{}", self.origin(), self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn every_form_is_read_and_written_again() {
        for url in [
            "https://github.com/myuser/myapp.git",
            "https://git.example:8443/a/b",
            "ssh://git@github.com/myuser/myapp.git",
            "ssh://git@git.example:2222/a",
            "git@github.com:myuser/myapp.git",
            "ssh://git@[fd00::1]:22/a",
        ] {
            assert_eq!(parsed(url).to_string(), url);
        }
    }

    #[test]
    fn with_a_token_every_form_goes_over_https_to_the_same_host() {
        for url in [
            "git@github.com:myuser/myapp.git",
            "ssh://git@github.com/myuser/myapp.git",
        ] {
            assert_eq!(
                parsed(url).over_https().to_string(),
                "https://github.com/myuser/myapp.git"
            );
        }
        assert_eq!(
            parsed("https://h:8443/a").over_https().to_string(),
            "https://h:8443/a"
        );
    }

    #[test]
    fn hosts_are_known_by_their_port() {
        assert_eq!(parsed("git@github.com:a").known_as(), "github.com");
        assert_eq!(parsed("ssh://git@h:2222/a").known_as(), "[h]:2222");
    }

    #[test]
    fn what_is_dangerous_is_no_address() {
        for url in [
            "ext::sh -c id",
            "file:///etc",
            "git://h/x",
            "/etc",
            "ssh://-oProxyCommand=id/x",
            "-oX@host:repo",
            "git@-h:x",
            "git@h:-x",
            "https://user:pass@host/x",
            "https://user@host/x",
            "ssh://git:pass@host/x",
            "https:///x",
            "https://h:0/x",
            "https://h:99999/x",
            "https://h/",
            "git@h:a b",
            "git@h:a\nb",
            "git@h;id:a",
        ] {
            assert_eq!(Address::parse(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_an_address_is_read_back_the_same(url in "(https|ssh)://([a-z]{1,3}@)?[-a-z.]{1,9}(:[0-9]{1,5})?/\\PC{0,9}") {
            if let Some(address) = Address::parse(&url) {
                prop_assert_eq!(Address::parse(&address.to_string()), Some(address));
            }
        }
    }
}
