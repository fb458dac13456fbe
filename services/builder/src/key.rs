//! The content key: what an image is made from, as one name. The same inputs give the same key, and
//! are built once. Pure.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use ring::hmac::{self, HMAC_SHA256};
use secrecy::{ExposeSecret as _, SecretSlice};
use sequencer_api::login::Login;

/// A change of what is built from the same inputs needs another number.
const VERSION: &str = "1";

/// How many characters a key has.
const LENGTH: usize = 40;

/// What an image is made from.
#[derive(Debug, Default)]
pub struct Inputs<'a> {
    /// Where the trees of the context are in it, and which they are.
    pub trees: Vec<(&'a str, &'a str)>,
    /// The commits, where the build sees more of the history than one of them.
    pub history: Vec<&'a str>,
    /// The Dockerfile's path in the context.
    pub dockerfile: &'a str,
    /// What stands in it.
    pub content: &'a [u8],
    pub target: Option<&'a str>,
    pub args: Option<&'a BTreeMap<String, String>>,
    /// The secrets by id: only a keyed hash of them goes in.
    pub secrets: Option<&'a BTreeMap<String, SecretSlice<u8>>>,
    pub platforms: Vec<&'a str>,
    /// Compression and attestations: they change the digest.
    pub form: Vec<&'a str>,
}

/// What the keys are made of under which namespaces' secrets are hashed: the staging registry's
/// password, which only builders know and which stays. With a key that people could know they could
/// try out short secrets. With another password everything is built once more.
#[derive(Clone, Debug)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// From the staging registry's login; one without a login has no secret to offer.
    #[must_use]
    pub fn new(login: Option<&Login>) -> Self {
        let password = login
            .map(|login| login.password.expose_secret())
            .unwrap_or_default();
        Self(hmac::Key::new(HMAC_SHA256, password.as_bytes()))
    }

    /// The key of a namespace.
    fn of(&self, namespace: &str) -> hmac::Key {
        let tag = hmac::sign(&self.0, format!("content key of {namespace}").as_bytes());
        hmac::Key::new(HMAC_SHA256, tag.as_ref())
    }
}

#[must_use]
pub fn key(inputs: &Inputs<'_>, namespace: &str, pepper: &Pepper) -> String {
    let pepper = pepper.of(namespace);
    let mut hash = Context::new(&SHA256);
    // Each field and each part goes in with its length, so that no two lists look alike.
    let mut field = |parts: &[&[u8]]| {
        hash.update(&(parts.len() as u64).to_be_bytes());
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    };

    field(&[VERSION.as_bytes()]);
    for (path, tree) in &inputs.trees {
        field(&[b"tree", path.as_bytes(), tree.as_bytes()]);
    }

    for (name, list) in [
        ("history", &inputs.history),
        ("platforms", &inputs.platforms),
        ("form", &inputs.form),
    ] {
        let parts: Vec<_> = [name]
            .iter()
            .chain(list)
            .map(|part| part.as_bytes())
            .collect();
        field(&parts);
    }

    field(&[b"dockerfile", inputs.dockerfile.as_bytes(), inputs.content]);
    field(&[b"target", inputs.target.unwrap_or_default().as_bytes()]);
    for (name, value) in inputs.args.into_iter().flatten() {
        field(&[b"arg", name.as_bytes(), value.as_bytes()]);
    }

    for (id, value) in inputs.secrets.into_iter().flatten() {
        let seal = hmac::sign(&pepper, value.expose_secret());
        field(&[b"secret", id.as_bytes(), seal.as_ref()]);
    }

    HEXLOWER
        .encode(hash.finish().as_ref())
        .chars()
        .take(LENGTH)
        .collect()
}

/// The folder of an import that belongs to the context, and where it is there; nothing if none
/// does.
#[must_use]
pub fn within(context: &str, import: &str) -> Option<(String, String)> {
    if let Some(at) = below(import, context) {
        return Some((".".into(), at));
    }
    below(context, import).map(|folder| (folder, ".".into()))
}

/// Where a path is relative to a folder above it, or None if it is not below that folder.
pub(crate) fn below(path: &str, above: &str) -> Option<String> {
    match above {
        "." => Some(path.to_owned()),
        _ if path == above => Some(".".into()),
        _ => path
            .strip_prefix(above)
            .and_then(|rest| rest.strip_prefix('/'))
            .map(Into::into),
    }
}

/// A relative path as git writes it: without `.` and empty parts; `.` for the root.
#[must_use]
pub fn plain(path: &str) -> String {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.is_empty() {
        ".".into()
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(value: &str) -> BTreeMap<String, SecretSlice<u8>> {
        [(
            "id".to_owned(),
            SecretSlice::from(value.as_bytes().to_vec()),
        )]
        .into()
    }

    fn pepper(password: &str) -> Pepper {
        Pepper::new(Some(&Login {
            username: "u".into(),
            password: password.to_owned().into(),
        }))
    }

    #[test]
    fn every_input_counts_and_the_same_give_the_same() {
        let (args, other) = (
            [("a".to_owned(), "1".to_owned())].into(),
            [("a".to_owned(), "2".to_owned())].into(),
        );
        let (one, two) = (secrets("one"), secrets("two"));
        let base = || Inputs {
            trees: vec![(".", "t")],
            dockerfile: "Dockerfile",
            content: b"FROM x",
            args: Some(&args),
            secrets: Some(&one),
            ..Inputs::default()
        };
        let all = [
            base(),
            Inputs {
                trees: vec![(".", "u")],
                ..base()
            },
            Inputs {
                trees: vec![("a", "t")],
                ..base()
            },
            Inputs {
                history: vec!["c"],
                ..base()
            },
            Inputs {
                dockerfile: "Other",
                ..base()
            },
            Inputs {
                content: b"FROM y",
                ..base()
            },
            Inputs {
                target: Some("x"),
                ..base()
            },
            Inputs {
                args: Some(&other),
                ..base()
            },
            Inputs {
                args: None,
                ..base()
            },
            Inputs {
                secrets: Some(&two),
                ..base()
            },
            Inputs {
                platforms: vec!["linux/arm64"],
                ..base()
            },
            Inputs {
                form: vec!["linux/arm64"],
                ..base()
            },
        ];
        let keys: std::collections::BTreeSet<_> = all
            .iter()
            .map(|inputs| key(inputs, "team", &pepper("p")))
            .collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(
            key(&base(), "team", &pepper("p")),
            key(&base(), "team", &pepper("p"))
        );
        assert!(keys.iter().all(|key| key.len() == LENGTH));
        // What another version staged is found again.
        assert_eq!(
            key(&base(), "team", &pepper("p")),
            "3f170c1ecb8989090340b1666224892ccb2ae2ad"
        );
    }

    #[test]
    fn a_secret_counts_otherwise_in_each_namespace_and_under_each_password() {
        let one = secrets("one");
        let of = |password, namespace| {
            key(
                &Inputs {
                    secrets: Some(&one),
                    ..Inputs::default()
                },
                namespace,
                &pepper(password),
            )
        };

        assert_ne!(of("p", "a"), of("p", "b"));
        assert_ne!(of("p", "a"), of("q", "a"));
        assert_eq!(of("p", "a"), of("p", "a"));
    }

    #[test]
    fn the_parts_of_imports_in_the_context_are_found() {
        let found = |context, import| {
            within(context, import).map(|(folder, at)| format!("{folder} at {at}"))
        };

        assert_eq!(found(".", ".").as_deref(), Some(". at ."));
        assert_eq!(found(".", "lib").as_deref(), Some(". at lib"));
        assert_eq!(found("web", ".").as_deref(), Some("web at ."));
        assert_eq!(found("app/web", "app").as_deref(), Some("web at ."));
        assert_eq!(found("app", "app/lib").as_deref(), Some(". at lib"));
        assert_eq!(found("app", "application"), None);
        assert_eq!(found("app", "lib"), None);
        assert_eq!(
            [plain("./a//b/."), plain("."), plain("./")],
            ["a/b", ".", "."]
        );
    }
}
