//! The words that subjects are made of.

use std::fmt;
use std::str::FromStr;

use super::Malformed;

/// A plain enum whose values are one word each in a subject.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// The word in subjects.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(word: &str) -> Result<Self, Malformed> {
                match word { $($word => Ok(Self::$value),)+ _ => Err(Malformed) }
            }
        }
    };
}

words! {
    /// A service; the word is also its binary, Deployment and NATS user.
    Service {
        /// Decides what happens next.
        Watcher = "watcher",
        /// Builds images.
        Builder = "builder",
        /// Publishes images.
        RegistryPusher = "registry-pusher",
        /// DNS entries, tunnels, probes.
        Network = "network",
        /// What runs in the cluster.
        Deployer = "deployer",
    }
}

words! {
    /// What a service is asked to look at an object for.
    Verb {
        /// Which commit does the branch stand at?
        Resolve = "resolve",
        /// Build the image.
        Build = "build",
        /// Publish the image.
        Push = "push",
        /// Make the DNS record so.
        Dns = "dns",
        /// Make the tunnel so.
        Tunnel = "tunnel",
        /// Does the URL answer?
        Probe = "probe",
        /// Make the workload so.
        Deploy = "deploy",
        /// Make the ingress so.
        Ingress = "ingress",
    }
}

words! {
    /// The kind of an object.
    Kind {
        /// `Workspace`
        Workspace = "workspace",
        /// `Component`
        Component = "component",
        /// `Build`
        Build = "build",
        /// `DNSRecord`
        DnsRecord = "dnsrecord",
    }
}

impl Verb {
    /// The service that handles it.
    #[must_use]
    pub const fn service(self) -> Service {
        match self {
            Self::Resolve | Self::Build => Service::Builder,
            Self::Push => Service::RegistryPusher,
            Self::Dns | Self::Tunnel | Self::Probe => Service::Network,
            Self::Deploy | Self::Ingress => Service::Deployer,
        }
    }

    /// The kind of object that it is about.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Resolve | Self::Deploy => Kind::Component,
            Self::Build | Self::Push => Kind::Build,
            Self::Dns => Kind::DnsRecord,
            Self::Tunnel | Self::Probe | Self::Ingress => Kind::Workspace,
        }
    }

    /// Whether its subject names a builder pool.
    #[must_use]
    pub const fn pooled(self) -> bool {
        matches!(self.service(), Service::Builder)
    }
}

/// The name of a builder pool: a DNS label of at most 40 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool(String);

impl Pool {
    /// The most characters that a name has: `builder-<pool>` also names Deployments and their pods.
    pub const MAX: usize = 40;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The pool of a Build that names none.
impl Default for Pool {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pool {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = !name.is_empty()
            && name.len() <= Self::MAX
            && name.chars().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-');
        good.then(|| Self(name.into())).ok_or(Malformed)
    }
}
