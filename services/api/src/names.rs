//! Names of everything that is made. They follow from what they stand for, so that whoever comes
//! second finds what the first has made; and they are readable: only the Workspace's part is ever
//! cut.

use data_encoding::BASE32_NOPAD;
use kube::Resource;
use ring::digest::{SHA256, digest};

use crate::stored::Stored as _;

/// The longest name of a Component: its pods' names stay host names.
const COMPONENT: usize = 46;
/// The longest label (RFC 1035).
const LABEL: usize = 63;
/// The longest part of a Workspace's name in a host.
const HOST: usize = 40;

/// The first `length` characters of the hash of these parts, base32 in lower case. A NUL stands
/// between two parts, so that `a, bc` and `ab, c` differ.
fn hash(parts: &[&str], length: usize) -> String {
    let hash = digest(&SHA256, parts.join("\0").as_bytes());
    BASE32_NOPAD
        .encode(hash.as_ref())
        .to_lowercase()
        .chars()
        .take(length)
        .collect()
}

/// Six characters of the hash of these parts.
#[must_use]
pub fn h6(parts: &[&str]) -> String {
    hash(parts, 6)
}

/// Ten characters of the hash of these parts.
#[must_use]
pub fn h10(parts: &[&str]) -> String {
    hash(parts, 10)
}

/// A Workspace as names need it, or a Component that was applied on its own.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

impl<'a> Owner<'a> {
    /// An object of the API server, which gives each a name and a uid.
    pub fn of(object: &'a impl Resource) -> Self {
        Self {
            name: object.meta().name.as_deref().unwrap_or_default(),
            uid: object.uid_str(),
        }
    }
}

impl Owner<'_> {
    /// `<workspace>-<shown>-<hash>`, the Workspace's name cut as far as `limit` needs. `hashed` is
    /// distinguished by the hash alone.
    fn made(&self, shown: &[&str], hashed: &[&str], limit: usize) -> String {
        let hash = h6(&[&[self.uid], shown, hashed].concat());
        let rest: String = shown
            .iter()
            .chain(&[hash.as_str()])
            .map(|part| format!("-{part}"))
            .collect();
        format!("{}{rest}", cut(self.name, limit.saturating_sub(rest.len())))
    }

    /// A Component, and its Deployment or Job.
    #[must_use]
    pub fn component(&self, component: &str) -> String {
        self.made(&[component], &[], COMPONENT)
    }

    /// A component's Service for one network.
    #[must_use]
    pub fn service(&self, component: &str, network: &str) -> String {
        self.made(&[component, &network.to_ascii_lowercase()], &[], LABEL)
    }

    /// A Build: `commit` is the first import's, `spec` the canonical form of all inputs.
    #[must_use]
    pub fn build(&self, build: &str, commit: &str, spec: &str) -> String {
        self.made(&[build, cut(commit, 7)], &[spec], LABEL)
    }

    /// The Ingress or HTTPRoute, and the NetworkPolicy of all pods.
    #[must_use]
    pub fn ingress(&self) -> String {
        self.made(&[], &["ingress"], LABEL)
    }

    /// A component's own NetworkPolicy.
    #[must_use]
    pub fn policy(&self, component: &str) -> String {
        self.made(&[component], &["policy"], LABEL)
    }

    /// The tunnel's connector, and its Secret.
    #[must_use]
    pub fn connector(&self) -> String {
        self.made(&["tunnel"], &[], LABEL)
    }

    /// The Secret of generated variables.
    #[must_use]
    pub fn variables(&self) -> String {
        self.made(&["variables"], &[], LABEL)
    }

    /// The host's left-most label. It follows from names and not from the uid: deleted and applied
    /// again, a Workspace has the same URL.
    #[must_use]
    pub fn host_label(&self, cluster: &str, namespace: &str) -> String {
        let hash = h6(&[&format!("{cluster}/{namespace}/{}", self.name)]);
        format!("{}-{hash}", cut(self.name, HOST))
    }

    /// The tunnel at its provider.
    #[must_use]
    pub fn tunnel(&self, cluster: &str) -> String {
        format!("seq-{cluster}-{}", self.uid)
    }
}

/// A DNSRecord: the object is the lock on the host.
#[must_use]
pub fn record(fqdn: &str, record_type: &str) -> String {
    format!("{fqdn}.{}", record_type.to_ascii_lowercase())
}

/// A component's pull Secret.
#[must_use]
pub fn pull_secret(component: &str) -> String {
    format!("{component}-pull")
}

/// A component's claim.
#[must_use]
pub fn claim(template: &str, component: &str) -> String {
    format!("{template}-{component}")
}

/// The tag that keeps a running digest named when others move: from the Build's name, which holds
/// all of its inputs.
#[must_use]
pub fn tag(commit: &str, build: &str) -> String {
    let hash = build.rsplit('-').next().unwrap_or(build);
    format!("seq-{}-{hash}", cut(commit, 12))
}

/// The staging repository of a content key, apart for each namespace.
#[must_use]
pub fn staging(namespace: &str, key: &str) -> String {
    format!("b/{}/{key}", h10(&[namespace]))
}

/// At most so many characters, and no hyphen at the end.
fn cut(name: &str, length: usize) -> &str {
    let end = name
        .char_indices()
        .nth(length)
        .map_or(name.len(), |(at, _)| at);
    name.get(..end).unwrap_or(name).trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: Owner<'static> = Owner {
        name: "workspace-sample-x7k2p",
        uid: "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10",
    };

    #[test]
    fn names_show_what_they_stand_for() {
        let hash = |name: &str| name.rsplit('-').next().map(str::len);

        for (name, begin) in [
            (
                SAMPLE.component("click-mania"),
                "workspace-sample-x7k2p-click-mania-",
            ),
            (
                SAMPLE.service("mysql", "TCP"),
                "workspace-sample-x7k2p-mysql-tcp-",
            ),
            (
                SAMPLE.build("myapp", "4f2a91c0d3e8", "{}"),
                "workspace-sample-x7k2p-myapp-4f2a91c-",
            ),
            (SAMPLE.ingress(), "workspace-sample-x7k2p-"),
            (SAMPLE.policy("mysql"), "workspace-sample-x7k2p-mysql-"),
            (SAMPLE.connector(), "workspace-sample-x7k2p-tunnel-"),
            (
                SAMPLE.host_label("c1", "sequencer-system"),
                "workspace-sample-x7k2p-",
            ),
        ] {
            assert!(name.starts_with(begin) && hash(&name) == Some(6), "{name}");
        }

        assert_eq!(record("x.preview.test", "CNAME"), "x.preview.test.cname");
    }

    #[test]
    fn other_inputs_are_another_build_and_the_same_are_the_same() {
        let build = |spec| SAMPLE.build("myapp", "4f2a91c0d3e8", spec);
        assert_eq!(build("{}"), build("{}"));
        assert_ne!(build("{}"), build(r#"{"target":"x"}"#));
        assert_eq!(
            tag("4f2a91c0d3e8aa", "w-myapp-4f2a91c-tn6r3b"),
            "seq-4f2a91c0d3e8-tn6r3b"
        );
    }

    #[test]
    fn a_workspace_that_is_made_again_has_the_same_host_and_another_tunnel() {
        let again = Owner {
            uid: "other",
            ..SAMPLE
        };
        assert_eq!(SAMPLE.host_label("c", "n"), again.host_label("c", "n"));
        assert_ne!(SAMPLE.host_label("c", "n"), SAMPLE.host_label("c", "m"));
        assert_ne!(SAMPLE.tunnel("c"), again.tunnel("c"));
    }

    fn is_label(name: &str, limit: usize) -> bool {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        name.len() <= limit
            && name.chars().all(inner)
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
    }

    proptest! {
        #[test]
        fn every_name_is_a_label_within_its_limit(
            name in "[a-z]([-a-z0-9]{0,61}[a-z0-9])?",
            uid in "[0-9a-f]{32}",
            component in "[a-z]([-a-z0-9]{0,18}[a-z0-9])?",
            network in "[A-Za-z]([-A-Za-z0-9]{0,13}[A-Za-z0-9])?",
        ) {
            let owner = Owner { name: &name, uid: &uid };
            prop_assert!(is_label(&owner.component(&component), COMPONENT));
            prop_assert!(is_label(&owner.service(&component, &network), LABEL));
            prop_assert!(is_label(&owner.build(&component, "4f2a91c0d3e8", ""), LABEL));
            prop_assert!(is_label(&owner.ingress(), LABEL));
            prop_assert!(is_label(&owner.policy(&component), LABEL));
            prop_assert!(is_label(&pull_secret(&owner.component(&component)), LABEL));
            // A subdomain has at most 15 characters before its hyphen.
            prop_assert!(is_label(&owner.host_label("c", "n"), LABEL - 16));
        }

        #[test]
        fn parts_are_told_apart(a in "[a-z]{1,8}", b in "[a-z]{1,8}", c in "[a-z]{1,8}") {
            prop_assert_ne!(h6(&[&a, &format!("{b}{c}")]), h6(&[&format!("{a}{b}"), &c]));
        }
    }
}
